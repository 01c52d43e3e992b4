//! Retries: one request has at most one grant, however often it is asked again.

use std::collections::BTreeMap;

use super::{Finding, seconds};

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

/// A Release that was sent, whether or not it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSent {
    /// Of which lock.
    pub lock: String,
    /// Under which token.
    pub token: u64,
    /// When.
    pub at_us: u64,
}

/// A request that was granted once is answered with that same grant while its lease runs, and
/// never with another.
pub fn one_grant_each(answers: &[Answer], releases: &[ReleaseSent]) -> Option<Finding> {
    let mut requests: BTreeMap<(&str, &str, u64), Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        let request = (answer.lock.as_str(), answer.owner.as_str(), answer.request_no);
        requests.entry(request).or_default().push(answer);
    }
    requests.into_values().find_map(|mut copies| {
        copies.sort_by_key(|copy| copy.told_us);
        let is_grant = |copy: &&&Answer| matches!(copy.outcome, Outcome::Granted(_));
        let grant = *copies.iter().find(is_grant)?;
        let token = match grant.outcome {
            Outcome::Granted(token) => token,
            _ => return None,
        };
        copies.iter().find_map(|copy| broken_by(copy, grant, token, releases))
    })
}

/// What is wrong with how `copy` was answered, when its request had been granted by `grant`.
fn broken_by(
    copy: &Answer,
    grant: &Answer,
    token: u64,
    releases: &[ReleaseSent],
) -> Option<Finding> {
    let came_after = copy.delivered_us > grant.told_us;
    let released = |release: &ReleaseSent| {
        release.lock == grant.lock && release.token == token && release.at_us < copy.told_us
    };
    let still_runs =
        copy.told_us < grant.asked_us + grant.lease_us && !releases.iter().any(released);
    let (told, should) = match &copy.outcome {
        Outcome::Granted(other) if *other != token => {
            (format!("GRANTED with token {other}"), format!("token {token} again, or STALE"))
        }
        Outcome::Held { by } if came_after => {
            (format!("HELD by {by}"), format!("GRANTED with token {token}, or STALE"))
        }
        Outcome::Stale if came_after && still_runs => {
            ("STALE".to_owned(), format!("GRANTED with token {token}: its lease still ran"))
        }
        _ => return None,
    };
    let sentence = format!(
        "{}'s request {} for {} was granted by {} at {} with token {token}. Asked again at {}, {} \
         answered {told} at {}. It should have been {should}.",
        grant.owner,
        grant.request_no,
        grant.lock,
        grant.node,
        seconds(grant.told_us),
        seconds(copy.delivered_us),
        copy.node,
        seconds(copy.told_us),
    );
    let clients = vec![grant.owner.clone()];
    Some(Finding { sentence, since_us: grant.asked_us, at_us: copy.told_us, clients })
}
