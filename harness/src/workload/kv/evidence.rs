//! From history and messages of the key-value lab to the terms of the checkers.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::kv as wire;

use crate::{
    checker::{Finding, leaders::Claim, progress::Write, seconds},
    fabric::{decode::payload, record::Message},
    history::Operation,
};

/// Who acted as the leader of which term: whoever sent entries, or showed that it leads.
pub fn claims(messages: &[Message]) -> Vec<Claim<'_>> {
    let term = |message: &Message| {
        let request = payload(message.request.bytes())?;
        match message.method() {
            "AppendEntries" => Some(wire::AppendEntriesRequest::decode(request).ok()?.term),
            "InstallSnapshot" => Some(wire::SnapshotRequest::decode(request).ok()?.term),
            _ => None,
        }
    };
    let claims = messages.iter().filter_map(|message| Some((term(message)?, message)));
    claims.map(|(term, it)| Claim { term, node: &it.from, at_us: it.sent_us }).collect()
}

/// A leader that still had an entry which was committed more than `most` entries ago.
pub fn kept_too_much(messages: &[Message], most: u64) -> Option<Finding> {
    let appends = messages.iter().filter(|message| message.method() == "AppendEntries");
    appends.into_iter().find_map(|message| {
        let request = payload(message.request.bytes())?;
        let it = wire::AppendEntriesRequest::decode(request).ok()?;
        let first = it.prev_index + 1;
        let is_old = !it.entries.is_empty() && it.commit > it.prev_index + most;
        is_old.then(|| {
            let sentence = format!(
                "{} sent {} the entry {first} at {}, when {} were committed. It should have put a \
                 snapshot in the place of all but the last {most}.",
                message.from,
                message.to,
                seconds(message.sent_us),
                it.commit,
            );
            let at_us = message.sent_us;
            Finding { sentence, since_us: at_us, at_us, clients: Vec::new() }
        })
    })
}

/// A node that had more than `most` bytes on its disk when the run ended.
pub fn stored_too_much(
    stored_bytes: &BTreeMap<String, u64>,
    most: u64,
    end_us: u64,
) -> Option<Finding> {
    let (node, bytes) = stored_bytes.iter().find(|(_, bytes)| **bytes > most)?;
    let sentence = format!(
        "{node} had {} KiB on its disk at the end. It should have got by with {} KiB.",
        bytes / 1024,
        most / 1024,
    );
    Some(Finding { sentence, since_us: 0, at_us: end_us, clients: Vec::new() })
}

/// When writes were first sent, and when they were known to be done.
pub fn writes(history: &[Operation]) -> Vec<Write> {
    let writes = history.iter().filter(|operation| operation.op != "get");
    writes.map(|it| Write { call_us: it.call_us, return_us: it.return_us }).collect()
}

/// A client that was told STALE while it had made no newer write: it has one at a time.
pub fn told_stale(history: &[Operation]) -> Option<Finding> {
    history.iter().find_map(|operation| {
        let told = operation.tries.iter().find(|attempt| attempt.answer == "stale")?;
        let client = format!("c{}", operation.process);
        let sentence = format!(
            "{client} sent its write {} of {} and {} answered STALE at {}, as if it had made a \
             newer one. It should have been what the write came to.",
            operation.details.get("seq").unwrap_or(&serde_json::Value::Null),
            operation.key,
            told.node,
            seconds(told.return_us),
        );
        let (since_us, at_us) = (operation.call_us, told.return_us);
        Some(Finding { sentence, since_us, at_us, clients: vec![client] })
    })
}
