//! Whether faults bit: what each of them hit, judged from the record.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};

use crate::{
    fabric::{
        fault::{Entry, Fault, Kind, Struck, Trigger},
        record::{Lost, Message},
    },
    history::Operation,
};

/// What some of a run's faults did: those of one kind, or of one that the scenario names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bites {
    /// How many were injected.
    pub injected: u32,
    /// How many of those hit something: a message under way, or one that came to nothing.
    pub bit: u32,
    /// How many client operations were under way when they struck, all in all.
    pub operations_in_flight: u32,
}

impl AddAssign for Bites {
    fn add_assign(&mut self, other: Self) {
        self.injected += other.injected;
        self.bit += other.bit;
        self.operations_in_flight += other.operations_in_flight;
    }
}

/// What the faults of a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Efficacy {
    /// Those of each kind that was wanted.
    pub by_kind: BTreeMap<Kind, Bites>,
    /// The first fault that the scenario names and that did nothing, in one sentence, if there is
    /// one: then the run proves nothing.
    pub toothless: Option<String>,
}

/// What the faults that `schedule` wanted did to a cluster of `nodes`. Each fault that the scenario
/// names must hit something at least once, or it is another scenario than was meant.
pub fn judge(
    schedule: &[Entry],
    struck: &[Struck],
    messages: &[Message],
    history: &[Operation],
    nodes: &[String],
) -> Efficacy {
    let mut by_entry = vec![Bites::default(); schedule.len()];
    for fault in struck {
        let under_way = |operation: &&Operation| {
            operation.call_us <= fault.at_us
                && operation.return_us.is_none_or(|return_us| return_us >= fault.at_us)
        };
        let count = history.iter().filter(under_way).count();
        by_entry[fault.entry] += Bites {
            injected: 1,
            bit: u32::from(bit(fault, messages, nodes)),
            operations_in_flight: u32::try_from(count).expect("a run is small"),
        };
    }
    let mut by_kind: BTreeMap<Kind, Bites> = BTreeMap::new();
    let mut by_spec: BTreeMap<usize, (&Entry, Bites)> = BTreeMap::new();
    for (entry, bites) in schedule.iter().zip(by_entry) {
        *by_kind.entry(entry.fault.kind()).or_default() += bites;
        by_spec.entry(entry.spec).or_insert((entry, Bites::default())).1 += bites;
    }
    let toothless = by_spec.values().find(|(_, bites)| bites.bit == 0);
    Efficacy { by_kind, toothless: toothless.map(|(entry, bites)| did_nothing(entry, bites)) }
}

fn did_nothing(entry: &Entry, bites: &Bites) -> String {
    let (number, kind) = (entry.spec + 1, entry.fault.kind());
    let which = match &entry.when {
        Trigger::Message { aim, .. } => format!("The scenario's fault {number}, {kind} at {aim},"),
        Trigger::AtMs(_) => format!("The scenario's fault {number}, {kind},"),
    };
    match bites.injected {
        0 => format!("{which} was not injected: its moment never came, or its nodes were down."),
        _ => format!("{which} hit nothing."),
    }
}

fn bit(struck: &Struck, messages: &[Message], all: &[String]) -> bool {
    let concerned = messages.iter().filter(|message| overlaps(message, struck));
    match &struck.fault {
        // Under way to or from a node that fell, or sent to it while it was down.
        Fault::Kill { nodes } => concerned
            .filter(|message| nodes.contains(&message.to) || nodes.contains(&message.from))
            .any(|message| message.lost.is_some() || message.answered_us.is_none()),
        // Sent to a node that stood still, or asked by it.
        Fault::Pause { nodes } => concerned
            .filter(|message| nodes.contains(&message.to) || nodes.contains(&message.from))
            .any(|message| message.answered_us.is_none_or(|at_us| at_us >= struck.until_us)),
        // Stopped on one of its links, there or back.
        Fault::Cut { nodes, shape, .. } => {
            let pairs = shape.blocked_pairs(nodes, all);
            let mut stopped =
                concerned.filter(|message| message.held || message.lost == Some(Lost::Cut));
            stopped.any(|Message { from, to, .. }| {
                pairs
                    .iter()
                    .any(|(one, other)| (one, other) == (from, to) || (one, other) == (to, from))
            })
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

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::fabric::fault::{Aim, Mode, Shape};

    fn nodes() -> [String; 3] {
        ["n1", "n2", "n3"].map(String::from)
    }

    fn kill(spec: usize, method: &str, nth: u32) -> Entry {
        let aim = Aim::at(method.into());
        let fault = Fault::Kill { nodes: vec!["n1".into()] };
        Entry { when: Trigger::Message { aim, nth, after: None }, fault, for_ms: 10, spec }
    }

    fn struck(entry: usize, fault: &Fault) -> Struck {
        Struck { entry, fault: fault.clone(), at_us: 10, until_us: 20, message: None }
    }

    fn lost(from: &str, to: &str, why: &str) -> Message {
        let message = json!({
            "id": 1, "copy": 0, "from": from, "to": to, "path": "/faultline.kv.v1.Kv/Put",
            "sent_us": 5, "delivered_us": 6, "replied_us": null, "answered_us": null,
            "gave_up_us": null, "code": null, "lost": why, "request": "", "reply": null,
        });
        from_value(message).unwrap()
    }

    #[test]
    fn each_fault_that_a_scenario_names_must_bite_once_and_not_each_time() {
        // The first two are times of one fault, the others are aimed at the same messages.
        let schedule = [kill(0, "Put", 1), kill(0, "Put", 2), kill(1, "Put", 1), kill(2, "Get", 1)];
        let messages = [lost("c1", "n1", "unreachable")];
        let toothless = |entries: &[usize], messages| {
            let struck: Vec<_> =
                entries.iter().map(|entry| struck(*entry, &schedule[*entry].fault)).collect();
            judge(&schedule, &struck, messages, &[], &nodes()).toothless.unwrap_or_default()
        };
        assert_eq!(toothless(&[1, 2, 3], &messages[..]), "");
        let never = |which| {
            format!("{which} was not injected: its moment never came, or its nodes were down.")
        };
        let second = never("The scenario's fault 2, kill at Put,");
        assert_eq!(toothless(&[0, 1, 3], &messages[..]), second);
        let third = never("The scenario's fault 3, kill at Get,");
        assert_eq!(toothless(&[0, 2], &messages[..]), third);
        assert_eq!(toothless(&[0, 2, 3], &[]), "The scenario's fault 1, kill at Put, hit nothing.");
    }

    #[test]
    fn a_cut_bites_on_its_own_links() {
        let bites = |shape, from, to| {
            let fault = Fault::Cut { nodes: vec!["n1".into()], shape, mode: Mode::Silent };
            let message = lost(from, to, "cut");
            bit(&struck(0, &fault), &[message], &nodes())
        };
        assert!(bites(Shape::Both, "n1", "n2") && bites(Shape::Both, "n2", "n1"));
        assert!(!bites(Shape::Both, "n2", "n3"), "by another cut");
        assert!(bites(Shape::Incoming, "n1", "n2"), "its reply");
        assert!(bites(Shape::Bridge, "n2", "n3") && !bites(Shape::Bridge, "n1", "n2"));
    }
}
