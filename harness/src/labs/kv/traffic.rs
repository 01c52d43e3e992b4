//! How much the nodes of the key-value lab send to one of them, and how much of it was needed.

use std::collections::BTreeMap;

use prost::Message as _;

use super::peers::{Call, Said};
use crate::checker::{Finding, seconds};

/// How many times what it needs a node may be sent: entries again after each loss, and a snapshot
/// that another one overtakes. The reference stays below half of it.
const FACTOR: u64 = 3;
/// What may be under way, and so be lost, at each outage: some messages full of entries.
const UNDER_WAY: u64 = 256 * 1024;

/// How often a node may be sent the same entries and answer: once, and a few times more where a
/// leader looks for the end of what two logs have in common. The reference needs two.
const SAME_ENTRIES: usize = 20;

/// How often a node may ask another for its vote within a second: each election timeout, before it
/// stands and when it does. The reference needs seven at most.
const ASKED_WITHIN_A_SECOND: usize = 20;

/// A leader that still had an entry which was committed more than `most` entries ago.
pub fn kept_too_much(calls: &[Call<'_>], most: u64) -> Option<Finding> {
    calls.iter().find_map(|Call { message, said }| {
        let Said::Append(it, _) = said else { return None };
        // Also what carries no entries shows that the one before them is known.
        let (index, commit) = (it.prev_index, it.commit);
        let is_old = it.prev_term > 0 && commit > index.saturating_add(most);
        is_old.then(|| {
            let sentence = format!(
                "{} still knew the entry {index} at {}, when {commit} were committed: it said so \
                 to {}. It should have put a snapshot in the place of all but the last {most}.",
                message.from,
                seconds(message.sent_us),
                message.to,
            );
            let at_us = message.sent_us;
            Finding { sentence, since_us: at_us, at_us, clients: Vec::new() }
        })
    })
}

/// A leader that sends a node the same entries again and again, though the node answers.
pub fn sent_again_and_again(calls: &[Call<'_>]) -> Option<Finding> {
    let mut answered: BTreeMap<(&str, &str, u64, u64), usize> = BTreeMap::new();
    let answers = calls.iter().filter(|call| call.message.answered_us.is_some());
    answers.into_iter().find_map(|Call { message, said }| {
        let Said::Append(it, _) = said else { return None };
        let (from, to, after) = (&message.from, &message.to, it.prev_index);
        let times = answered.entry((from, to, it.term, after)).or_default();
        *times += usize::from(!it.entries.is_empty());
        (*times > SAME_ENTRIES).then(|| {
            let sentence = format!(
                "By {} {from} had sent {to} the entries after {after} {times} times in term {}, \
                 and {to} had answered each time. They should have found what their logs have in \
                 common, and gone on from there.",
                seconds(message.sent_us),
                it.term,
            );
            Finding { sentence, since_us: 0, at_us: message.sent_us, clients: Vec::new() }
        })
    })
}

/// A node that asks another for its vote again and again, as if nobody needed time to answer.
pub fn asked_again_and_again(calls: &[Call<'_>]) -> Option<Finding> {
    let mut asked: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    let asks = calls.iter().filter(|it| matches!(it.said, Said::Vote(..)) && it.message.copy == 0);
    asks.into_iter().find_map(|Call { message, .. }| {
        let (from, to, at_us) = (&message.from, &message.to, message.sent_us);
        let times = asked.entry((from, to)).or_default();
        times.push(at_us);
        let since_us = *times.get(times.len().checked_sub(ASKED_WITHIN_A_SECOND + 1)?)?;
        (at_us.saturating_sub(since_us) < 1_000_000).then(|| {
            let sentence = format!(
                "From {} to {} {from} asked {to} for its vote {} times. It should give the others \
                 time to answer before it asks again.",
                seconds(since_us),
                seconds(at_us),
                ASKED_WITHIN_A_SECOND + 1,
            );
            Finding { sentence, since_us, at_us, clients: Vec::new() }
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
pub fn sent_too_much(calls: &[Call<'_>], outages: usize) -> Option<Finding> {
    let mut nodes: BTreeMap<&str, Received> = BTreeMap::new();
    let times = 1 + outages as u64;
    // A copy is the harness's own.
    calls.iter().filter(|call| call.message.copy == 0).find_map(|Call { message, said }| {
        let received = nodes.entry(&message.to).or_default();
        received.note(said)?;
        let needed = received.log.saturating_add(received.snapshot.saturating_mul(times));
        let most = needed.saturating_mul(FACTOR).saturating_add(UNDER_WAY * times);
        (received.sent > most).then(|| {
            let sentence = format!(
                "By {} {} had been sent {} KiB of entries and snapshots. It needed {} KiB: every \
                 entry once, a snapshot, and one more for each time that something broke \
                 ({outages}).",
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
    fn note(&mut self, said: &Said) -> Option<()> {
        match said {
            Said::Append(it, _) => {
                for (index, entry) in (it.prev_index.saturating_add(1)..=u64::MAX).zip(&it.entries)
                {
                    let bytes = entry.encoded_len() as u64;
                    self.sent += bytes;
                    let known = self.entries.entry(index).or_default();
                    self.log += bytes.saturating_sub(*known);
                    *known = bytes.max(*known);
                }
                (!it.entries.is_empty()).then_some(())
            }
            Said::Install(it, _) => {
                self.sent += it.data.len() as u64;
                self.snapshot = self.snapshot.max(it.offset.saturating_add(it.data.len() as u64));
                Some(())
            }
            Said::Vote(..) => None,
        }
    }
}
