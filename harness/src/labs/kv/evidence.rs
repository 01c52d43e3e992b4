//! From history and messages of the key-value lab to the terms of the checkers.

use std::collections::BTreeMap;

use proto::kv::{self as wire, reply::Outcome};

use super::{
    reads::Read,
    sessions::{self, Told},
};
use crate::{
    checker::{Finding, progress::Write, seconds},
    fabric::{
        decode::payload,
        record::{Body, Message},
    },
    history::Operation,
};

/// The message in a recorded body, if it is one.
pub fn decode<M: prost::Message + Default>(body: &Body) -> Option<M> {
    M::decode(payload(body.bytes())?).ok()
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

/// For how long clients waited for their writes.
pub fn writes(history: &[Operation]) -> Vec<Write> {
    let writes = history.iter().filter(|operation| operation.op != "get");
    writes
        .map(|it| {
            let last_try_us = it.tries.last().map(|attempt| attempt.return_us);
            let until_us = it.return_us.or(last_try_us).unwrap_or(u64::MAX);
            Write { call_us: it.call_us, until_us, is_done: it.return_us.is_some() }
        })
        .collect()
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

/// What nodes told clients of their writes, for every copy of a request that arrived.
pub fn told(messages: &[Message]) -> Vec<Told<'_>> {
    let writes = messages.iter().filter_map(|message| Some((message, write_number(message)?)));
    writes
        .filter_map(|(message, seq)| {
            let outcome = match answer(message)? {
                Outcome::Ok(_) => sessions::Outcome::Done,
                Outcome::Mismatch(found) => sessions::Outcome::Mismatch(found.value),
                _ => return None,
            };
            let Message { from: client, to: node, delivered_us, replied_us, .. } = message;
            let (delivered_us, told_us) = ((*delivered_us)?, (*replied_us)?);
            Some(Told { client, seq, node, delivered_us, told_us, outcome })
        })
        .collect()
}

/// What a client was answered, or would have been if the reply had arrived.
fn answer(message: &Message) -> Option<Outcome> {
    decode::<wire::Reply>(message.reply.as_ref()?)?.outcome
}

/// The number of the write that a message asks for, if it does.
fn write_number(message: &Message) -> Option<u64> {
    let request = &message.request;
    let session = match message.method() {
        "Put" => decode::<wire::PutRequest>(request)?.session,
        "Append" => decode::<wire::AppendRequest>(request)?.session,
        "Cas" => decode::<wire::CasRequest>(request)?.session,
        "Delete" => decode::<wire::DeleteRequest>(request)?.session,
        _ => None,
    };
    Some(session?.seq)
}

/// What nodes told clients that read.
pub fn reads(messages: &[Message]) -> Vec<Read<'_>> {
    let gets = messages.iter().filter(|message| message.method() == "Get");
    gets.filter(|message| matches!(answer(message), Some(Outcome::Ok(_))))
        .filter_map(|message| {
            let Message { from: client, to: node, delivered_us, replied_us, .. } = message;
            let key = decode::<wire::GetRequest>(&message.request)?.key;
            let (delivered_us, told_us) = ((*delivered_us)?, (*replied_us)?);
            Some(Read { node, client, key, delivered_us, told_us })
        })
        .collect()
}
