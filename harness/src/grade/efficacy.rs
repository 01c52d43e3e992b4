//! Whether faults bit: what each of them hit, judged from the record.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};

use crate::{
    fabric::{
        fault::{Aim, Entry, Fault, Kind, Phase, Struck, Trigger},
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
    /// Which of the wanted ones did nothing, in one sentence, if some did: then the run proves
    /// nothing.
    pub toothless: Option<String>,
}

/// What the faults that `schedule` wanted did.
pub fn judge(
    schedule: &[Entry],
    struck: &[Struck],
    messages: &[Message],
    history: &[Operation],
) -> Efficacy {
    let mut places = places(schedule);
    for fault in struck {
        let here = Place::of(&schedule[fault.entry]);
        let place = places.iter_mut().find(|(place, _)| *place == here);
        let (_, bites) = place.expect("what strikes is in the schedule");
        let under_way = |operation: &&Operation| {
            operation.call_us <= fault.at_us
                && operation.return_us.is_none_or(|return_us| return_us >= fault.at_us)
        };
        let count = history.iter().filter(under_way).count();
        bites.injected += 1;
        bites.bit += u32::from(bit(fault, messages));
        bites.operations_in_flight += u32::try_from(count).expect("a run is small");
    }
    let toothless = places.iter().find(|(_, bites)| bites.bit == 0);
    let toothless = toothless.map(|(place, bites)| place.sentence(bites));
    let mut by_kind: BTreeMap<Kind, Bites> = BTreeMap::new();
    for (place, bites) in places {
        *by_kind.entry(place.kind).or_default() += bites;
    }
    Efficacy { by_kind, toothless }
}

/// What is wanted of a schedule: a fault of this kind, set off by such a message or by none. Each
/// must do something at least once, or the scenario is another one than was meant.
#[derive(PartialEq)]
struct Place<'a> {
    kind: Kind,
    aim: Option<&'a Aim>,
}

impl<'a> Place<'a> {
    fn of(entry: &'a Entry) -> Self {
        let aim = match &entry.when {
            Trigger::Message { aim, .. } => Some(aim),
            Trigger::AtMs(_) => None,
        };
        Self { kind: entry.fault.kind(), aim }
    }

    /// Says that it did nothing.
    fn sentence(&self, bites: &Bites) -> String {
        let kind = self.kind;
        let at = match self.aim {
            Some(Aim { method, phase: Phase::Request, .. }) => format!(" at a request of {method}"),
            Some(Aim { method, phase: Phase::Reply, .. }) => format!(" at a reply to {method}"),
            None => String::new(),
        };
        match bites.injected {
            0 => format!("No {kind}{at} was injected: the message it waits for never came."),
            _ => format!("No {kind}{at} hit anything."),
        }
    }
}

/// Every place of `schedule`, in its order.
fn places(schedule: &[Entry]) -> Vec<(Place<'_>, Bites)> {
    let mut places: Vec<(Place<'_>, Bites)> = Vec::new();
    for place in schedule.iter().map(Place::of) {
        if !places.iter().any(|(known, _)| *known == place) {
            places.push((place, Bites::default()));
        }
    }
    places
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

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn kill_at(method: &str, nth: u32) -> Entry {
        let aim = Aim::at(method.into());
        let fault = Fault::Kill { nodes: vec!["n1".into()] };
        Entry { when: Trigger::Message { aim, nth, after: None }, fault, for_ms: 10 }
    }

    #[test]
    fn each_kind_of_moment_that_is_wanted_must_come_once_and_not_each_moment() {
        let schedule = [kill_at("Put", 1), kill_at("Get", 1), kill_at("Put", 2)];
        let struck = |entry: usize| Struck {
            entry,
            fault: schedule[entry].fault.clone(),
            at_us: 10,
            until_us: 20,
            message: None,
        };
        let lost = json!({
            "id": 1, "copy": 0, "from": "c1", "to": "n1", "path": "/faultline.kv.v1.Kv/Put",
            "sent_us": 5, "delivered_us": 6, "replied_us": null, "answered_us": null,
            "gave_up_us": null, "code": null, "lost": "unreachable", "request": "", "reply": null,
        });
        let messages: [Message; 1] = [from_value(lost).unwrap()];
        let toothless = |struck: &[Struck], messages| {
            judge(&schedule, struck, messages, &[]).toothless.unwrap_or_default()
        };
        assert_eq!(toothless(&[struck(0), struck(1)], &messages[..]), "");
        let never =
            "No kill at a request of Get was injected: the message it waits for never came.";
        assert_eq!(toothless(&[struck(0), struck(2)], &messages[..]), never);
        let harmless = "No kill at a request of Put hit anything.";
        assert_eq!(toothless(&[struck(0), struck(1)], &[]), harmless);
    }
}
