//! Retries: one request has at most one grant, however often it is asked again.

use std::collections::BTreeMap;

use crate::{
    checker::{Finding, Late, seconds},
    fabric::weather::Weather,
};

/// How a node answered one delivered copy of a request. Times in microseconds since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which lock.
    pub lock: String,
    /// Who asked.
    pub owner: String,
    /// With which request.
    pub request_no: u64,
    /// Which node answered.
    pub node: String,
    /// Whether the network asked once more and not the client, who waits for no answer to that.
    pub duplicate: bool,
    /// When the request was first sent to any node.
    pub asked_us: u64,
    /// When this copy reached the node.
    pub delivered_us: u64,
    /// When the node had answered.
    pub told_us: u64,
    /// What it answered.
    pub outcome: Outcome,
    /// How long the request's lease is.
    pub lease_us: u64,
}

/// An answer to an Acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, with this token.
    Granted(u64),
    /// Held by somebody.
    Held {
        /// By whom.
        by: String,
    },
    /// The request is over.
    Stale,
    /// Anything that says nothing.
    Unavailable,
}

/// From when on a client has no more claim to its grant: it has sent a release of it or a newer
/// request, whether or not that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimEnded {
    /// Of which lock.
    pub lock: String,
    /// By whom.
    pub owner: String,
    /// What was sent.
    pub by: EndedBy,
    /// When.
    pub at_us: u64,
}

/// What ends a client's claim to a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// A release of this token.
    Release(u64),
    /// A request of this number ends those with lower ones.
    Request(u64),
}

/// A request that was granted once is answered with that same grant while its lease runs, and
/// never with another.
pub fn one_grant_each(answers: &[Answer], ended: &[ClaimEnded]) -> Option<Finding> {
    let findings = granted(answers).into_iter().filter_map(|Granted { token, grant, copies }| {
        copies.iter().find_map(|copy| broken_by(copy, grant, token, ended))
    });
    findings.min_by_key(|finding| finding.at_us)
}

/// A client that asks again, because it did not hear of its grant, is told it within `bound_us` of
/// calm between the nodes. It asks until it is told; a duplicate may be refused, and come again
/// much later.
pub fn same_grant(answers: &[Answer], bound_us: u64, weather: &Weather) -> Option<Late> {
    granted(answers).into_iter().find_map(|Granted { grant, copies, .. }| {
        let calm_us = weather.calm_between_nodes_from(grant.told_us, bound_us);
        let again = || copies.iter().filter(|copy| !copy.duplicate && copy.delivered_us > calm_us);
        let first_us = again().map(|copy| copy.delivered_us).min()?;
        if weather.calm_between_nodes_from(first_us, bound_us) > first_us {
            return None;
        }
        let is_definite =
            |copy: &&&Answer| matches!(copy.outcome, Outcome::Granted(_) | Outcome::Stale);
        let told_us = again().find(is_definite).or(again().next_back())?.told_us;
        let took_us = told_us.saturating_sub(first_us);
        (took_us > bound_us).then(|| {
            let sentence = format!(
                "{}'s request {} for {} was granted by {} at {}. Asked again from {} on, no node \
                 told it so for {}. It should have been told within {}.",
                grant.owner,
                grant.request_no,
                grant.lock,
                grant.node,
                seconds(grant.told_us),
                seconds(first_us),
                seconds(took_us),
                seconds(bound_us),
            );
            let clients = vec![grant.owner.clone()];
            let finding = Finding { sentence, since_us: grant.told_us, at_us: told_us, clients };
            Late { finding, took_us, bound_us }
        })
    })
}

/// A request that was granted, and everything that was answered to it, by time.
struct Granted<'a> {
    token: u64,
    grant: &'a Answer,
    copies: Vec<&'a Answer>,
}

fn granted(answers: &[Answer]) -> Vec<Granted<'_>> {
    let mut requests: BTreeMap<(&str, &str, u64), Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        let request = (answer.lock.as_str(), answer.owner.as_str(), answer.request_no);
        requests.entry(request).or_default().push(answer);
    }
    requests.into_values().filter_map(first_grant).collect()
}

fn first_grant(mut copies: Vec<&Answer>) -> Option<Granted<'_>> {
    copies.sort_by_key(|copy| copy.told_us);
    copies.iter().copied().find_map(|copy| match copy.outcome {
        Outcome::Granted(token) => Some(Granted { token, grant: copy, copies: copies.clone() }),
        _ => None,
    })
}

/// What is wrong with how `copy` was answered, when its request had been granted by `grant`.
fn broken_by(copy: &Answer, grant: &Answer, token: u64, ended: &[ClaimEnded]) -> Option<Finding> {
    let is_over = |end: &ClaimEnded| {
        (&end.lock, &end.owner) == (&grant.lock, &grant.owner)
            && end.at_us < copy.told_us
            && match end.by {
                EndedBy::Release(released) => released == token,
                EndedBy::Request(newer) => newer > grant.request_no,
            }
    };
    let lease_runs = copy.told_us < grant.asked_us + grant.lease_us;
    let must_know = copy.delivered_us > grant.told_us && lease_runs && !ended.iter().any(is_over);
    let still_granted = format!("GRANTED with token {token}: its lease still ran");
    let (told, should) = match &copy.outcome {
        Outcome::Granted(other) if *other != token => {
            (format!("GRANTED with token {other}"), format!("token {token} again, or STALE"))
        }
        Outcome::Held { by } if must_know => (format!("HELD by {by}"), still_granted),
        Outcome::Stale if must_know => ("STALE".to_owned(), still_granted),
        _ => return None,
    };
    let sentence = format!(
        "{}'s request {} for {} was granted by {} at {} with token {token}. Another copy of it \
         reached {} at {} and was answered {told} at {}. It should have been {should}.",
        grant.owner,
        grant.request_no,
        grant.lock,
        grant.node,
        seconds(grant.told_us),
        copy.node,
        seconds(copy.delivered_us),
        seconds(copy.told_us),
    );
    let clients = vec![grant.owner.clone()];
    Some(Finding { sentence, since_us: grant.asked_us, at_us: copy.told_us, clients })
}
