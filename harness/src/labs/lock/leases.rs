//! Locks with leases: one holder at a time, and fencing tokens that only grow.

use std::collections::BTreeMap;

use crate::{
    checker::{Finding, Late, seconds},
    fabric::weather::Weather,
};

/// A token that a node told a client it was granted. Times in microseconds since the run's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which lock.
    pub lock: String,
    /// The fencing token.
    pub token: u64,
    /// Who asked.
    pub owner: String,
    /// With which request.
    pub request_no: u64,
    /// By which node it was told.
    pub node: String,
    /// Which client asked, if it is one that does one thing after the other by these times.
    pub process: Option<u32>,
    /// When the request was first sent.
    pub asked_us: u64,
    /// When the node told it, whether or not the client ever heard.
    pub told_us: u64,
}

/// A stretch of time in which a holder may count on being the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reliance {
    /// Which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// Who.
    pub owner: String,
    /// When a node told the grant.
    pub told_us: u64,
    /// When the client knew.
    pub from_us: u64,
    /// When it sent its release, or its lease ran out by its own count.
    pub until_us: u64,
    /// If it was the release: by which client, and as which operation of the history.
    pub released_by: Option<(u32, usize)>,
}

/// Reliance intervals of different tokens must not overlap: O(n log n), a sweep over each lock.
pub fn disjoint(reliances: &[Reliance]) -> Option<Finding> {
    let mut by_start: Vec<_> = reliances.iter().filter(|it| it.from_us < it.until_us).collect();
    by_start.sort_by_key(|reliance| reliance.from_us);
    let mut latest: BTreeMap<&str, &Reliance> = BTreeMap::new();
    for next in by_start {
        let earlier = latest.get(next.lock.as_str()).copied();
        match earlier.filter(|earlier| earlier.token != next.token) {
            Some(earlier) if next.from_us < earlier.until_us => {
                return Some(overlap(earlier, next));
            }
            _ => {}
        }
        if earlier.is_none_or(|earlier| earlier.until_us < next.until_us) {
            latest.insert(&next.lock, next);
        }
    }
    None
}

fn overlap(earlier: &Reliance, next: &Reliance) -> Finding {
    let sentence = format!(
        "{} was granted {} with token {} at {}, while {} relied on it with token {} until {}. \
         It should have been told HELD.",
        next.owner,
        next.lock,
        next.token,
        seconds(next.from_us),
        earlier.owner,
        earlier.token,
        seconds(earlier.until_us),
    );
    let clients = vec![next.owner.clone(), earlier.owner.clone()];
    Finding { sentence, since_us: earlier.from_us, at_us: next.told_us, clients }
}

/// No token is granted to two requests, and a request made after a grant gets a higher one.
pub fn tokens_grow(grants: &[Grant]) -> Option<Finding> {
    let mut by_asking: Vec<_> = grants.iter().collect();
    by_asking.sort_by_key(|grant| grant.asked_us);
    let mut by_telling = by_asking.clone();
    by_telling.sort_by_key(|grant| grant.told_us);
    let mut told = by_telling.into_iter().peekable();
    let mut highest: BTreeMap<&str, &Grant> = BTreeMap::new();
    let mut holders: BTreeMap<(&str, u64), &Grant> = BTreeMap::new();
    // What one client is told and then asks at the same moment is not concurrent: `grants` has it
    // in the client's order.
    let mut own_highest: BTreeMap<(&str, u32), &Grant> = BTreeMap::new();
    for grant in by_asking {
        let first = holders.entry((&grant.lock, grant.token)).or_insert(grant);
        if (&first.owner, first.request_no) != (&grant.owner, grant.request_no) {
            return Some(granted_twice(first, grant));
        }
        while let Some(earlier) = told.next_if(|earlier| earlier.told_us < grant.asked_us) {
            let best = highest.entry(&earlier.lock).or_insert(earlier);
            if best.token < earlier.token {
                *best = earlier;
            }
        }
        let own = grant.process.and_then(|process| {
            let its = (grant.lock.as_str(), process);
            let own = own_highest.get(&its).copied();
            if own.is_none_or(|own| own.token < grant.token) {
                own_highest.insert(its, grant);
            }
            own
        });
        let before = highest.get(grant.lock.as_str()).copied().into_iter().chain(own);
        if let Some(earlier) = before.max_by_key(|earlier| earlier.token)
            && grant.token <= earlier.token
            && (&earlier.owner, earlier.request_no) != (&grant.owner, grant.request_no)
        {
            return Some(went_back(earlier, grant));
        }
    }
    None
}

fn granted_twice(one: &Grant, other: &Grant) -> Finding {
    let (first, second) = if one.told_us <= other.told_us { (one, other) } else { (other, one) };
    let sentence = format!(
        "{} told {} (request {}) at {} that it has {} with token {}; {} had told {} (request {}) \
         the same at {}. It should have been a higher token, or none.",
        second.node,
        second.owner,
        second.request_no,
        seconds(second.told_us),
        second.lock,
        second.token,
        first.node,
        first.owner,
        first.request_no,
        seconds(first.told_us),
    );
    finding(first, second, sentence)
}

fn went_back(earlier: &Grant, later: &Grant) -> Finding {
    let sentence = format!(
        "{} asked for {} at {} (request {}) and was told token {} by {}, though token {} had been \
         told to {} at {}. It should have been a higher one.",
        later.owner,
        later.lock,
        seconds(later.asked_us),
        later.request_no,
        later.token,
        later.node,
        earlier.token,
        earlier.owner,
        seconds(earlier.told_us),
    );
    finding(earlier, later, sentence)
}

fn finding(first: &Grant, second: &Grant, sentence: String) -> Finding {
    let clients = vec![second.owner.clone(), first.owner.clone()];
    Finding { sentence, since_us: first.told_us, at_us: second.told_us, clients }
}

/// A client asked for a lock, for the first time or again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which lock.
    pub lock: String,
    /// Who asked.
    pub owner: String,
    /// When it was sent.
    pub at_us: u64,
}

/// From when on a token holds nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// From when on, for sure.
    pub at_us: u64,
    /// Why, as the part of a sentence between the lock and the time: `was released`.
    pub how: &'static str,
}

/// A lock may be held by somebody who was never told so: a majority was asked to agree to it, and
/// nobody knows what came of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MayHold {
    /// Which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// From when on.
    pub from_us: u64,
    /// Until its lease is over for sure.
    pub until_us: u64,
}

/// Once a lock is free, somebody who asks for it in calm is granted it within `bound_us` of calm,
/// whether or not the client that is granted it still listens, and unless somebody `may_hold` it.
/// `end_us` is the end of the run.
pub fn granted_again(
    freed: &[Freed],
    may_hold: &[MayHold],
    asks: &[Ask],
    grants: &[Grant],
    bound_us: u64,
    weather: &Weather,
    end_us: u64,
) -> Option<Late> {
    freed.iter().find_map(|free| {
        let newer =
            grants.iter().filter(|grant| grant.lock == free.lock && grant.token > free.token);
        let told_us = newer.map(|grant| grant.told_us).min().unwrap_or(end_us);
        let ask = first_calm_ask(free, may_hold, asks, bound_us, weather)?;
        let took_us = told_us.saturating_sub(ask.at_us);
        (took_us > bound_us).then(|| {
            let sentence = format!(
                "{} {} at {}, {} asked for it at {}, and for {} nobody was granted it. It should \
                 have been granted within {}.",
                free.lock,
                free.how,
                seconds(free.at_us),
                ask.owner,
                seconds(ask.at_us),
                seconds(took_us),
                seconds(bound_us),
            );
            let clients = vec![ask.owner.clone()];
            let finding = Finding { sentence, since_us: free.at_us, at_us: told_us, clients };
            Late { finding, took_us, bound_us }
        })
    })
}

/// The first ask for a free lock after which it stays free and calm for as long as the answer may
/// take.
fn first_calm_ask<'a>(
    free: &Freed,
    may_hold: &[MayHold],
    asks: &'a [Ask],
    bound_us: u64,
    weather: &Weather,
) -> Option<&'a Ask> {
    let mut from_us = free.at_us;
    loop {
        let after = asks.iter().filter(|ask| ask.lock == free.lock && ask.at_us > from_us);
        let ask = after.min_by_key(|ask| ask.at_us)?;
        let holds = may_hold.iter().filter(|it| {
            (&it.lock, true) == (&free.lock, it.token > free.token)
                && it.from_us < ask.at_us + bound_us
                && ask.at_us < it.until_us
        });
        let free_us = holds.map(|it| it.until_us).max().unwrap_or(ask.at_us);
        let calm_us = weather.calm_from(ask.at_us, bound_us).max(free_us);
        if calm_us == ask.at_us {
            return Some(ask);
        }
        from_us = calm_us;
    }
}

/// A renewal that was answered LOST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRenewal {
    /// Of which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// By whom it was asked for.
    pub owner: String,
    /// By which client.
    pub process: u32,
    /// As which operation of the history.
    pub place: usize,
    /// Which node said so.
    pub node: String,
    /// When its holder was told.
    pub told_us: u64,
}

/// A holder that renews while it relies on its lease is never told that the lease is lost.
pub fn renewals_kept(reliances: &[Reliance], losses: &[LostRenewal]) -> Option<Finding> {
    let mut by_time: Vec<_> = losses.iter().collect();
    by_time.sort_by_key(|loss| loss.told_us);
    let mut claims: BTreeMap<(&str, u64, &str), &Reliance> = BTreeMap::new();
    for it in reliances {
        claims.entry((&it.lock, it.token, &it.owner)).or_insert(it);
    }
    by_time.into_iter().find_map(|loss| {
        let relied = claims.get(&(&loss.lock, loss.token, &loss.owner))?;
        // A client that is told so and then releases at the same moment had relied on it till then.
        let then_released = relied.released_by.is_some_and(|(process, place)| {
            (loss.told_us, loss.process) == (relied.until_us, process) && loss.place < place
        });
        if loss.told_us >= relied.until_us && !then_released {
            return None;
        }
        let sentence = format!(
            "{} renewed {} with token {}, and {} answered LOST at {}. It should have been OK: the \
             lease ran until {}.",
            loss.owner,
            loss.lock,
            loss.token,
            loss.node,
            seconds(loss.told_us),
            seconds(relied.until_us),
        );
        let clients = vec![loss.owner.clone()];
        Some(Finding { sentence, since_us: relied.from_us, at_us: loss.told_us, clients })
    })
}
