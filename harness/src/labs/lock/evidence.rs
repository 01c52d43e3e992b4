//! From history and messages of the lock lab to the terms of the checkers.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::lock::{self as wire, acquire_reply};
use serde_json::{Map, Value, json};

use super::{
    fencing::{Read, Told, Write},
    leases::{Ask, Freed, Grant, LostRenewal, MayHold, Reliance},
    majority,
    requests::{Answer, ClaimEnded, EndedBy, Outcome},
};
use crate::{
    fabric::{decode::payload, record::Message},
    history::Operation,
};

fn text(details: &Map<String, Value>, field: &str) -> String {
    details.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(details: &Map<String, Value>, field: &str) -> u64 {
    details.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn granted(operation: &Operation) -> Option<(u64, u64)> {
    let token = operation.result.as_ref()?["granted"].as_u64()?;
    Some((token, operation.return_us?))
}

fn of_kind<'a>(history: &'a [Operation], op: &'a str) -> impl Iterator<Item = &'a Operation> {
    placed(history, op).map(|(_, operation)| operation)
}

/// The operations of a kind, each with its place in the history.
fn placed<'a>(
    history: &'a [Operation],
    op: &'a str,
) -> impl Iterator<Item = (usize, &'a Operation)> {
    history.iter().enumerate().filter(move |(_, operation)| operation.op == op)
}

/// From the return of a grant until the first send of its release, or until the lease ends,
/// counted from the first send of the request or of the newest renewal that returned OK.
pub fn reliances(history: &[Operation], answers: &[Answer]) -> Vec<Reliance> {
    let lease_end_us =
        |operation: &Operation| operation.call_us + number(&operation.details, "lease_ms") * 1000;
    // Which lock, by whom, as what.
    type Claim<'a> = (&'a str, &'a str, u64);
    fn claim(operation: &Operation) -> Claim<'_> {
        let owner = operation.details.get("owner").and_then(Value::as_str).unwrap_or_default();
        (&operation.key, owner, number(&operation.details, "token"))
    }
    let mut renewed_us: BTreeMap<Claim<'_>, u64> = BTreeMap::new();
    for renew in of_kind(history, "renew").filter(|it| it.result == Some(json!("ok"))) {
        let until_us = renewed_us.entry(claim(renew)).or_default();
        *until_us = lease_end_us(renew).max(*until_us);
    }
    let mut released: BTreeMap<Claim<'_>, (u64, (u32, usize))> = BTreeMap::new();
    for (place, release) in placed(history, "release") {
        let by = (release.process, place);
        released.entry(claim(release)).or_insert((release.call_us, by));
    }
    let mut told_us: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for answer in answers {
        if let Outcome::Granted(token) = answer.outcome {
            let first_us = told_us.entry((&answer.lock, token)).or_insert(answer.told_us);
            *first_us = answer.told_us.min(*first_us);
        }
    }
    let grants = of_kind(history, "acquire").filter_map(|acquire| {
        let (token, from_us) = granted(acquire)?;
        let (lock, owner, _) = claim(acquire);
        let its = (lock, owner, token);
        let until_us = renewed_us.get(&its).copied().unwrap_or(0).max(lease_end_us(acquire));
        let release = released.get(&its).filter(|(at_us, _)| *at_us < until_us);
        let until_us = release.map_or(until_us, |(at_us, _)| *at_us);
        let released_by = release.map(|(_, by)| *by);
        let told_us = told_us.get(&(lock, token)).copied().unwrap_or(from_us);
        let (lock, owner) = (lock.to_owned(), owner.to_owned());
        Some(Reliance { lock, token, owner, told_us, from_us, until_us, released_by })
    });
    grants.collect()
}

/// Every time that a client asked for a lock.
pub fn asks(history: &[Operation]) -> Vec<Ask> {
    let asks = of_kind(history, "acquire").flat_map(|acquire| {
        let owner = text(&acquire.details, "owner");
        acquire.tries.iter().map(move |attempt| Ask {
            lock: acquire.key.clone(),
            owner: owner.clone(),
            at_us: attempt.call_us,
        })
    });
    asks.collect()
}

/// Every question to a node that takes a majority to answer, and whether it was decided.
pub fn node_asks(history: &[Operation]) -> Vec<majority::Ask> {
    let asks = of_kind(history, "acquire").flat_map(|acquire| {
        let client = text(&acquire.details, "owner");
        acquire.tries.iter().map(move |attempt| majority::Ask {
            node: attempt.node.clone(),
            client: client.clone(),
            call_us: attempt.call_us,
            return_us: attempt.return_us,
            decided: !attempt.is_unanswered() && attempt.answer != "unavailable",
        })
    });
    asks.collect()
}

/// When clients knew that they have a lock, or have it still: whoever renews one all the time
/// leaves none to be granted.
pub fn served_us(history: &[Operation]) -> Vec<u64> {
    let granted = of_kind(history, "acquire").filter_map(granted).map(|(_, at_us)| at_us);
    let renewed = of_kind(history, "renew").filter(|renew| renew.result == Some(json!("ok")));
    granted.chain(renewed.filter_map(|renew| renew.return_us)).collect()
}

/// From when on each token that was told holds nothing: its release was confirmed, or its lease is
/// over for sure, counted from when it was first told or from the last copy of its Acquire that
/// reached a node, from the answer to its last Renew, and from every restart in between.
pub fn freed(
    history: &[Operation],
    messages: &[Message],
    answers: &[Answer],
    restarts_us: &[u64],
) -> Vec<Freed> {
    let mut released: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for release in of_kind(history, "release").filter(|it| it.result == Some(json!("ok"))) {
        let token = number(&release.details, "token");
        released.insert((&release.key, token), release.return_us.unwrap_or(u64::MAX));
    }
    let mut last_copies: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    let mut note = |lock: &str, token: u64, from_us: u64, lease_us: u64| {
        let last = last_copies.entry((lock.to_owned(), token)).or_default();
        *last = (from_us, lease_us).max(*last);
    };
    let mut tokens: BTreeMap<(&str, &str, u64), u64> = BTreeMap::new();
    let mut first_told_us: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for answer in answers {
        if let Outcome::Granted(token) = answer.outcome {
            tokens.insert((&answer.lock, &answer.owner, answer.request_no), token);
            let told_us = first_told_us.entry((&answer.lock, token)).or_insert(answer.told_us);
            *told_us = answer.told_us.min(*told_us);
        }
    }
    for message in messages {
        let (Some(request), Some(delivered_us)) =
            (payload(message.request.bytes()), message.delivered_us)
        else {
            continue;
        };
        match message.method() {
            "Acquire" => {
                let Ok(it) = wire::AcquireRequest::decode(request) else { continue };
                let request = (it.name.as_str(), it.owner.as_str(), it.request_no);
                if let Some(token) = tokens.get(&request) {
                    // A node may take its time: the lease began before somebody was told of it.
                    let from_us = first_told_us[&(request.0, *token)].max(delivered_us);
                    note(&it.name, *token, from_us, u64::from(it.lease_ms) * 1000);
                }
            }
            "Renew" => {
                let Ok(it) = wire::RenewRequest::decode(request) else { continue };
                let from_us = message.replied_us.unwrap_or(delivered_us);
                note(&it.name, it.token, from_us, u64::from(it.lease_ms) * 1000);
            }
            _ => {}
        }
    }
    let freed = |((lock, token), (from_us, lease_us)): ((String, u64), (u64, u64))| {
        let over_us = lease_over_us(from_us, lease_us, restarts_us);
        let how = |released: &&u64| **released < over_us;
        match released.get(&(lock.as_str(), token)).filter(how).copied() {
            Some(at_us) => Freed { lock, token, at_us, how: "was released" },
            None => Freed { lock, token, at_us: over_us, how: "had a lease that was over" },
        }
    };
    last_copies.into_iter().map(freed).collect()
}

/// When a lease that began at `from_us` is over for sure: a node that restarts counts it anew.
/// `restarts_us` are in the order of time.
fn lease_over_us(from_us: u64, lease_us: u64, restarts_us: &[u64]) -> u64 {
    restarts_us.iter().fold(from_us + lease_us, |over_us, restart_us| {
        let concerns = from_us < *restart_us && *restart_us <= over_us;
        if concerns { restart_us + lease_us } else { over_us }
    })
}

/// Who may hold a lock and was never told so: voters were asked to accept it.
pub fn may_hold(messages: &[Message], answers: &[Answer], restarts_us: &[u64]) -> Vec<MayHold> {
    let granted = |name: &str, holder: &wire::Holder| {
        let is_its = |answer: &&Answer| {
            (answer.lock.as_str(), &answer.owner, answer.request_no)
                == (name, &holder.owner, holder.request_no)
        };
        let mut own = answers.iter().filter(is_its);
        own.any(|answer| matches!(answer.outcome, Outcome::Granted(_)))
    };
    let votes = messages.iter().filter(|message| message.method() == "Accept");
    let held = votes.filter_map(|vote| {
        let it = wire::AcceptRequest::decode(payload(vote.request.bytes())?).ok()?;
        let state = it.state?;
        let holder = state.holder.filter(|holder| !granted(&it.name, holder))?;
        let from_us = vote.delivered_us.unwrap_or(vote.sent_us);
        // Clocks may drift by one in a hundred.
        let lease_us = u64::from(holder.lease_ms) * 1010;
        let until_us = lease_over_us(from_us, lease_us, restarts_us);
        Some(MayHold { lock: it.name, token: state.token, from_us: vote.sent_us, until_us })
    });
    held.collect()
}

/// Renewals that were answered LOST.
pub fn lost_renewals(history: &[Operation]) -> Vec<LostRenewal> {
    let lost = placed(history, "renew").filter(|(_, it)| it.result == Some(json!("lost")));
    let lost = lost.filter_map(|(place, renew)| {
        Some(LostRenewal {
            lock: renew.key.clone(),
            token: number(&renew.details, "token"),
            owner: text(&renew.details, "owner"),
            process: renew.process,
            place,
            node: told_by(renew),
            told_us: renew.return_us?,
        })
    });
    lost.collect()
}

/// What was written, or tried to.
pub fn writes(history: &[Operation]) -> Vec<Write> {
    let write = |(place, write): (usize, &Operation)| Write {
        lock: write.key.clone(),
        owner: text(&write.details, "owner"),
        process: write.process,
        place,
        version: (number(&write.details, "token"), number(&write.details, "seq")),
        value: text(&write.details, "value"),
        call_us: write.call_us,
        returned: write.return_us.map(|at_us| {
            (at_us, if write.result == Some(json!("ok")) { Told::Ok } else { Told::Fenced })
        }),
    };
    placed(history, "write").map(write).collect()
}

/// What was read.
pub fn reads(history: &[Operation]) -> Vec<Read> {
    let read = |(place, read): (usize, &Operation)| {
        let result = read.result.as_ref()?.as_object()?;
        Some(Read {
            lock: read.key.clone(),
            reader: text(&read.details, "owner"),
            process: read.process,
            place,
            version: (number(result, "token"), number(result, "seq")),
            value: text(result, "value"),
            node: told_by(read),
            call_us: read.call_us,
            return_us: read.return_us?,
        })
    };
    placed(history, "read").filter_map(read).collect()
}

/// Every answer to an Acquire that a node gave, whether or not its client heard it.
pub fn answers(messages: &[Message]) -> Vec<Answer> {
    let mut asked_us: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
    let acquires: Vec<_> = messages
        .iter()
        .filter(|message| message.method() == "Acquire")
        .filter_map(|message| {
            let request = wire::AcquireRequest::decode(payload(message.request.bytes())?).ok()?;
            Some((message, request))
        })
        .collect();
    for (message, request) in &acquires {
        let key = (request.name.clone(), request.owner.clone(), request.request_no);
        let first_us = asked_us.entry(key).or_insert(message.sent_us);
        *first_us = message.sent_us.min(*first_us);
    }
    let answer = |(message, request): (&Message, wire::AcquireRequest)| {
        let reply = message.reply.as_ref()?;
        let reply = wire::AcquireReply::decode(payload(reply.bytes())?).ok()?;
        let outcome = match reply.outcome {
            Some(acquire_reply::Outcome::Granted(it)) => Outcome::Granted(it.token),
            Some(acquire_reply::Outcome::Held(it)) => Outcome::Held { by: it.by },
            Some(acquire_reply::Outcome::Stale(_)) => Outcome::Stale,
            _ => Outcome::Unavailable,
        };
        let key = (request.name.clone(), request.owner.clone(), request.request_no);
        Some(Answer {
            asked_us: asked_us[&key],
            lock: request.name,
            owner: request.owner,
            request_no: request.request_no,
            node: message.to.clone(),
            duplicate: message.copy > 0,
            delivered_us: message.delivered_us?,
            told_us: message.replied_us?,
            outcome,
            lease_us: u64::from(request.lease_ms) * 1000,
        })
    };
    acquires.into_iter().filter_map(answer).collect()
}

pub fn grants(answers: &[Answer]) -> Vec<Grant> {
    let grant = |answer: &Answer| match answer.outcome {
        Outcome::Granted(token) => Some(Grant {
            lock: answer.lock.clone(),
            token,
            owner: answer.owner.clone(),
            request_no: answer.request_no,
            node: answer.node.clone(),
            process: None,
            asked_us: answer.asked_us,
            told_us: answer.told_us,
        }),
        _ => None,
    };
    answers.iter().filter_map(grant).collect()
}

/// The grants that clients know of: what a history tells without the record of messages.
pub fn grants_known(history: &[Operation]) -> Vec<Grant> {
    let grant = |acquire: &Operation| {
        let (token, told_us) = granted(acquire)?;
        Some(Grant {
            lock: acquire.key.clone(),
            token,
            owner: text(&acquire.details, "owner"),
            request_no: number(&acquire.details, "request_no"),
            node: told_by(acquire),
            process: Some(acquire.process),
            asked_us: acquire.call_us,
            told_us,
        })
    };
    of_kind(history, "acquire").filter_map(grant).collect()
}

/// The node whose answer an operation ended with; a history may not say.
fn told_by(operation: &Operation) -> String {
    operation.tries.last().map_or_else(|| "a node".to_owned(), |last| last.node.clone())
}

/// Every Release and every Acquire ends the claim to an earlier grant once it is sent.
pub fn claims_ended(messages: &[Message]) -> Vec<ClaimEnded> {
    let ended = |message: &Message| {
        let request = payload(message.request.bytes())?;
        let (lock, owner, by) = match message.method() {
            "Release" => {
                let release = wire::ReleaseRequest::decode(request).ok()?;
                (release.name, release.owner, EndedBy::Release(release.token))
            }
            "Acquire" => {
                let acquire = wire::AcquireRequest::decode(request).ok()?;
                (acquire.name, acquire.owner, EndedBy::Request(acquire.request_no))
            }
            _ => return None,
        };
        Some(ClaimEnded { lock, owner, by, at_us: message.sent_us })
    };
    messages.iter().filter_map(ended).collect()
}
