//! Locks with leases: one holder at a time, and fencing tokens that only grow.

use std::collections::BTreeMap;

use super::{Finding, Late, seconds};

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
        if let Some(earlier) = highest.get(grant.lock.as_str())
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

/// An Acquire as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which lock.
    pub lock: String,
    /// Who asked.
    pub owner: String,
    /// When it was first sent.
    pub asked_us: u64,
    /// When it was granted; `None` when it was not.
    pub granted_us: Option<u64>,
}

/// A release that the service has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// When the client knew.
    pub at_us: u64,
}

/// Once a lock is released, somebody who asks for it is granted it within `bound_us`, whether or
/// not the client that is granted it still listens. `end_us` is the end of the run.
pub fn granted_again(
    releases: &[Released],
    attempts: &[Attempt],
    grants: &[Grant],
    bound_us: u64,
    end_us: u64,
) -> Option<Late> {
    releases.iter().find_map(|release| {
        let after = attempts
            .iter()
            .filter(|attempt| attempt.lock == release.lock && attempt.asked_us > release.at_us);
        let first_ask = after.min_by_key(|attempt| attempt.asked_us)?;
        let newer =
            grants.iter().filter(|grant| grant.lock == release.lock && grant.token > release.token);
        let until_us = newer.map(|grant| grant.told_us).min().unwrap_or(end_us);
        let took_us = until_us.saturating_sub(first_ask.asked_us);
        (took_us > bound_us).then(|| {
            let sentence = format!(
                "{} was released at {}, {} asked for it at {}, and for {} nobody was granted it. \
                 It should have been granted within {}.",
                release.lock,
                seconds(release.at_us),
                first_ask.owner,
                seconds(first_ask.asked_us),
                seconds(took_us),
                seconds(bound_us),
            );
            let clients = vec![first_ask.owner.clone()];
            let finding = Finding { sentence, since_us: release.at_us, at_us: until_us, clients };
            Late { finding, took_us, bound_us }
        })
    })
}
