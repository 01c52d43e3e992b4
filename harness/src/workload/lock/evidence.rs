//! From history and messages of the lock lab to the terms of the checkers.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::lock::{self as wire, acquire_reply};
use serde_json::{Map, Value, json};

use crate::{
    checker::{
        leases::{Attempt, Grant, Released, Reliance},
        requests::{Answer, ClaimEnded, EndedBy, Outcome},
    },
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
    history.iter().filter(move |operation| operation.op == op)
}

/// From the return of a grant until the first send of its release, or until the lease ends,
/// counted from the first send of the request or of the newest renewal that returned OK.
pub fn reliances(history: &[Operation], answers: &[Answer]) -> Vec<Reliance> {
    let lease_end_us =
        |operation: &Operation| operation.call_us + number(&operation.details, "lease_ms") * 1000;
    let grants = of_kind(history, "acquire").filter_map(|acquire| {
        let (token, from_us) = granted(acquire)?;
        let owner = text(&acquire.details, "owner");
        let same_grant = |other: &&Operation| {
            other.key == acquire.key
                && text(&other.details, "owner") == owner
                && number(&other.details, "token") == token
        };
        let renewed_us = of_kind(history, "renew")
            .filter(same_grant)
            .filter(|renew| renew.result == Some(json!("ok")))
            .map(lease_end_us)
            .max();
        let released_us =
            of_kind(history, "release").find(same_grant).map(|release| release.call_us);
        let until_us = renewed_us.unwrap_or(0).max(lease_end_us(acquire));
        let until_us = released_us.unwrap_or(u64::MAX).min(until_us);
        let told = |answer: &&Answer| {
            answer.lock == acquire.key && answer.outcome == Outcome::Granted(token)
        };
        let told_us = answers.iter().filter(told).map(|answer| answer.told_us).min();
        let told_us = told_us.unwrap_or(from_us);
        Some(Reliance { lock: acquire.key.clone(), token, owner, told_us, from_us, until_us })
    });
    grants.collect()
}

pub fn attempts(history: &[Operation]) -> Vec<Attempt> {
    let attempt = |acquire: &Operation| Attempt {
        lock: acquire.key.clone(),
        owner: text(&acquire.details, "owner"),
        asked_us: acquire.call_us,
        granted_us: granted(acquire).map(|(_, at_us)| at_us),
    };
    of_kind(history, "acquire").map(attempt).collect()
}

pub fn released(history: &[Operation]) -> Vec<Released> {
    let confirmed =
        of_kind(history, "release").filter(|release| release.result == Some(json!("ok")));
    let released = |release: &Operation| {
        let token = number(&release.details, "token");
        Some(Released { lock: release.key.clone(), token, at_us: release.return_us? })
    };
    confirmed.filter_map(released).collect()
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
            asked_us: answer.asked_us,
            told_us: answer.told_us,
        }),
        _ => None,
    };
    answers.iter().filter_map(grant).collect()
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
