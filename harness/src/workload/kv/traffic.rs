//! How much the nodes of the key-value lab send to one of them, and how much of it was needed.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::kv as wire;

use super::evidence::decode;
use crate::{
    checker::{Finding, seconds},
    fabric::record::Message,
};

/// How many times what it needs a node may be sent: entries again after each loss, and a snapshot
/// that another one overtakes. The reference stays below half of it.
const FACTOR: u64 = 3;
/// What may be under way, and so be lost, at each outage: some messages full of entries.
const UNDER_WAY: u64 = 256 * 1024;

/// How often a node may be sent the same entries and answer: once, and a few times more where a
/// leader looks for the end of what two logs have in common. The reference needs two.
const SAME_ENTRIES: usize = 20;

/// A leader that sends a node the same entries again and again, though the node answers.
pub fn sent_again_and_again(messages: &[Message]) -> Option<Finding> {
    let mut answered: BTreeMap<(&str, &str, u64, u64), usize> = BTreeMap::new();
    let appends = messages.iter().filter(|message| message.method() == "AppendEntries");
    appends.filter(|message| message.answered_us.is_some()).find_map(|message| {
        let it: wire::AppendEntriesRequest = decode(&message.request)?;
        let (from, to, after) = (&message.from, &message.to, it.prev_index);
        let times = answered.entry((from, to, it.term, after)).or_default();
        *times += usize::from(!it.entries.is_empty());
        (*times > SAME_ENTRIES).then(|| {
            let sentence = format!(
                "By {} {from} had sent {to} the entries after {after} {times} times in term {}, and \
                 {to} had answered each time. They should have found what their logs have in \
                 common, and gone on from there.",
                seconds(message.sent_us),
                it.term,
            );
            Finding { sentence, since_us: 0, at_us: message.sent_us, clients: Vec::new() }
        })
    })
}

/// What one node was sent, in bytes of entries and snapshots.
#[derive(Default)]
struct Received {
    sent: u64,
    /// The size of the largest entry seen at each index,
    entries: BTreeMap<u64, u64>,
    /// and of all of them together: it needs each once.
    log: u64,
    /// The largest snapshot: it needs one after each outage.
    snapshot: u64,
}

/// A node that was sent much more than the log holds and what it missed in `outages` outages.
pub fn sent_too_much(messages: &[Message], outages: usize) -> Option<Finding> {
    let mut nodes: BTreeMap<&str, Received> = BTreeMap::new();
    let times = 1 + outages as u64;
    // A copy is the harness's own.
    messages.iter().filter(|message| message.copy == 0).find_map(|message| {
        let received = nodes.entry(&message.to).or_default();
        received.note(message)?;
        let needed = received.log + received.snapshot * times;
        (received.sent > FACTOR * needed + UNDER_WAY * times).then(|| {
            let sentence = format!(
                "By {} {} had been sent {} KiB of entries and snapshots. It needed {} KiB: every \
                 entry once, a snapshot, and one more for each time that something broke ({outages}).",
                seconds(message.sent_us),
                message.to,
                received.sent / 1024,
                needed / 1024,
            );
            let at_us = message.sent_us;
            Finding { sentence, since_us: 0, at_us, clients: Vec::new() }
        })
    })
}

impl Received {
    /// Counts what a message carries; `None` if it carries nothing.
    fn note(&mut self, message: &Message) -> Option<()> {
        match message.method() {
            "AppendEntries" => {
                let it: wire::AppendEntriesRequest = decode(&message.request)?;
                for (index, entry) in (it.prev_index + 1..).zip(&it.entries) {
                    let bytes = entry.encoded_len() as u64;
                    self.sent += bytes;
                    let known = self.entries.entry(index).or_default();
                    self.log += bytes.saturating_sub(*known);
                    *known = bytes.max(*known);
                }
                (!it.entries.is_empty()).then_some(())
            }
            "InstallSnapshot" => {
                let it: wire::SnapshotRequest = decode(&message.request)?;
                self.sent += it.data.len() as u64;
                self.snapshot = self.snapshot.max(it.offset + it.data.len() as u64);
                Some(())
            }
            _ => None,
        }
    }
}
