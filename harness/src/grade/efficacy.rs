//! Whether faults bit: what each of them hit, judged from the record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    fabric::{
        fault::{Entry, Fault, Kind, Struck},
        record::{Lost, Message},
    },
    history::Operation,
};

/// What the faults of one kind did in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bites {
    /// How many were injected.
    pub injected: u32,
    /// How many of those hit something: a message under way, or one that came to nothing.
    pub bit: u32,
    /// How many client operations were under way when they struck, all in all.
    pub operations_in_flight: u32,
}

/// What the faults of each kind that `schedule` wanted did.
pub fn judge(
    schedule: &[Entry],
    struck: &[Struck],
    messages: &[Message],
    history: &[Operation],
) -> BTreeMap<Kind, Bites> {
    let wanted = schedule.iter().map(|entry| (entry.fault.kind(), Bites::default()));
    let mut by_kind: BTreeMap<Kind, Bites> = wanted.collect();
    for fault in struck {
        let bites = by_kind.entry(fault.fault.kind()).or_default();
        bites.injected += 1;
        bites.bit += u32::from(bit(fault, messages));
        let under_way = |operation: &&Operation| {
            operation.call_us <= fault.at_us
                && operation.return_us.is_none_or(|return_us| return_us >= fault.at_us)
        };
        let count = history.iter().filter(under_way).count();
        bites.operations_in_flight += u32::try_from(count).expect("a run is small");
    }
    by_kind
}

fn bit(struck: &Struck, messages: &[Message]) -> bool {
    let mut concerned = messages.iter().filter(|message| overlaps(message, struck));
    match &struck.fault {
        // Under way to or from a node that fell, or sent to it while it was down.
        Fault::Kill { nodes } => concerned
            .filter(|message| nodes.contains(&message.to) || nodes.contains(&message.from))
            .any(|message| message.lost.is_some() || message.answered_us.is_none()),
        // Sent to a node that stood still, or asked by it.
        Fault::Pause { nodes } => concerned
            .filter(|message| nodes.contains(&message.to) || nodes.contains(&message.from))
            .any(|message| message.answered_us.is_none_or(|at_us| at_us >= struck.until_us)),
        Fault::Cut { .. } => {
            concerned.any(|message| message.held || message.lost == Some(Lost::Cut))
        }
        // These are injected into a message, and hit it.
        Fault::DropRequest
        | Fault::DropReply
        | Fault::Refuse
        | Fault::Delay { .. }
        | Fault::Hold { .. } => true,
        Fault::Duplicate { .. } => messages.iter().any(|message| {
            let original = struck.message.as_ref().map(|original| original.id);
            message.copy > 0 && Some(message.id) == original && message.delivered_us.is_some()
        }),
    }
}

/// Whether the message was under way at some time while the fault lasted.
fn overlaps(message: &Message, struck: &Struck) -> bool {
    let end_us = message.answered_us.or(message.gave_up_us).or(message.replied_us);
    message.sent_us <= struck.until_us && end_us.is_none_or(|end_us| end_us >= struck.at_us)
}
