//! What a request does to a lock: plain rules over plain state, no network and no clock.
//!
//! A majority must accept a change before the client is told. `Err` changes nothing, and what
//! changes nothing is told at once, if the state that it speaks of is settled.

use proto::lock::{
    Accepted, AcquireRequest, Granted, Held, Holder, LockState, Lost, Ok as Done, ReleaseRequest,
    RenewRequest, acquire_reply::Outcome,
};

/// When a client that was told HELD may as well ask again.
const RETRY_AFTER_MS: u32 = 25;

/// Acquire(name, owner, request_no, lease_ms): a grant, or what the client is told instead.
pub fn acquire(
    lock: &mut LockState,
    request: &AcquireRequest,
    expired: bool,
) -> Result<Granted, Outcome> {
    // GAP 2: has this request been here before, and what was it told?
    if let Some(holder) = lock.holder.as_ref().filter(|holder| holder.owner == request.owner) {
        if holder.request_no == request.request_no {
            return Ok(Granted { token: lock.token });
        }
        if holder.request_no > request.request_no {
            return Err(Outcome::Stale(Default::default()));
        }
    }
    if lock.done.get(&request.owner).is_some_and(|newest| request.request_no <= *newest) {
        return Err(Outcome::Stale(Default::default()));
    }
    // END GAP
    if let Some(holder) = lock.holder.as_ref().filter(|_| !expired) {
        let by = holder.owner.clone();
        return Err(Outcome::Held(Held { by, retry_after_ms: RETRY_AFTER_MS }));
    }
    end_holding(lock);
    lock.token += 1;
    lock.holder = Some(Holder {
        owner: request.owner.clone(),
        request_no: request.request_no,
        renew_no: 0,
        lease_ms: request.lease_ms,
    });
    Ok(Granted { token: lock.token })
}

/// Renew(name, owner, token, renew_no, lease_ms).
pub fn renew(lock: &mut LockState, request: &RenewRequest) -> Result<Done, Lost> {
    let same_token = lock.token == request.token;
    let holder = lock.holder.as_mut().filter(|holder| same_token && holder.owner == request.owner);
    let Some(holder) = holder else { return Err(Lost {}) };
    if request.renew_no > holder.renew_no {
        holder.renew_no = request.renew_no;
        holder.lease_ms = request.lease_ms;
    }
    Ok(Done {})
}

/// Release(name, owner, token): afterwards that token holds nothing, whether or not it did before.
pub fn release(lock: &mut LockState, request: &ReleaseRequest) {
    let Some(holder) = &lock.holder else { return };
    // GAP 7: which of all the Releases that may still be under way is allowed to free this lock?
    let frees = holder.owner == request.owner && lock.token == request.token;
    // END GAP
    if frees {
        end_holding(lock);
    }
}

/// Frees the lock and remembers that its holder's request is over.
fn end_holding(lock: &mut LockState) {
    if let Some(holder) = lock.holder.take() {
        let newest = lock.done.entry(holder.owner).or_default();
        *newest = holder.request_no.max(*newest);
    }
}

/// Whether nobody can rely on `lock` any more, from what a round of voters remembers.
pub fn is_expired(lock: &LockState, voters: &[Accepted]) -> bool {
    let Some(holder) = &lock.holder else { return true };
    let lease_ms = u64::from(holder.lease_ms);
    // GAP 3: who can tell how long this lease has run, if clocks may drift by one percent?
    let this_lease = lease_of(lock);
    let knows_it = |voter: &&Accepted| voter.state.as_ref().and_then(lease_of) == this_lease;
    let drifted_lease_ms = lease_ms + lease_ms.div_ceil(100);
    voters.iter().filter(knows_it).any(|voter| voter.age_ms > drifted_lease_ms)
    // END GAP
}

/// What tells one lease from another. The token alone does not: a grant that no majority accepted
/// leaves its token to the next one, and a voter may have known the one and not the other.
pub fn lease_of(lock: &LockState) -> Option<(u64, &Holder)> {
    lock.holder.as_ref().map(|holder| (lock.token, holder))
}
