//! A failure as a story: what happened, what should have, and the fault before it.

use super::reason::Reason;
use crate::{
    checker::{Finding, seconds},
    clean,
    fabric::fault::{Fault, Mode, Phase, Shape, Sighting, Struck},
};

/// Tells why a run has its verdict; empty when there is nothing to tell.
pub fn tell(reason: &Reason, struck: &[Struck]) -> String {
    // It may quote what nodes said.
    let sentence = clean::sentence(&reason.sentence);
    let Some(finding) = &reason.finding else { return sentence };
    let before = match fault_before(finding, struck) {
        Some(fault) => format!("Before it, {}.", describe(fault)),
        None => "Nothing had been broken shortly before it.".to_owned(),
    };
    format!("{sentence} {before}")
}

/// How long before the beginning of a finding a fault may be over and still be told, in
/// microseconds.
const SHORTLY_US: u64 = 500_000;

/// The last fault before the end of the finding; one on a message of its clients if there was one
/// since it began.
fn fault_before<'a>(finding: &Finding, struck: &'a [Struck]) -> Option<&'a Struck> {
    let is_near = |fault: &&Struck| {
        felt_us(fault) <= finding.at_us && fault.until_us + SHORTLY_US >= finding.since_us
    };
    let before = || struck.iter().rev().filter(is_near);
    let concerns = |fault: &&Struck| {
        fault.at_us >= finding.since_us
            && fault.message.as_ref().is_some_and(|it| names(finding, &it.from))
    };
    before().find(concerns).or_else(|| before().next())
}

/// Whether the finding is about this client, in whichever of its lives (`c4`, `c4.2`).
fn names(finding: &Finding, client: &str) -> bool {
    let client_of = |owner: &str| owner.split('.').next() == Some(client);
    finding.clients.iter().any(|owner| client_of(owner))
}

/// When a fault could first be felt: a duplicate and a held message, when it arrives.
fn felt_us(struck: &Struck) -> u64 {
    match struck.fault {
        Fault::Duplicate { .. } | Fault::Hold { .. } => struck.until_us,
        _ => struck.at_us,
    }
}

fn describe(struck: &Struck) -> String {
    let at = seconds(struck.at_us);
    let moment = struck.message.as_ref().map_or_else(String::new, moment);
    let nodes = list(struck.fault.nodes());
    let until = seconds(struck.until_us);
    let message = struck.message.as_ref().map(name).unwrap_or_default();
    match &struck.fault {
        Fault::Kill { .. } => format!("{nodes} fell to kill -9 at {at}{moment}; back at {until}"),
        Fault::Pause { .. } => format!("{nodes} was paused at {at}{moment}; it went on at {until}"),
        Fault::Cut { shape, mode, .. } => {
            let cut = cut(&nodes, *shape);
            let mode = match mode {
                Mode::Silent => "",
                Mode::Hold => ", and every message that waited arrived then",
                Mode::Reset => ", its connections having been reset",
            };
            format!("{cut} at {at}{moment}; healed at {until}{mode}")
        }
        Fault::DropRequest => format!("{message} was dropped at {at}"),
        Fault::DropReply => format!("the reply to {message} was dropped at {at}"),
        Fault::Refuse => format!("{message} was refused at {at}"),
        Fault::Duplicate { .. } => {
            format!("{message}, seen at {at}, was delivered once more at {until}")
        }
        Fault::Delay { ms } => format!("{message} was held back for {ms} ms at {at}"),
        Fault::Hold { .. } => format!("{message} was held back from {at} to {until}"),
    }
}

fn cut(nodes: &str, shape: Shape) -> String {
    match shape {
        Shape::Both => format!("{nodes} was cut off from the other nodes"),
        Shape::Outgoing => format!("no other node heard {nodes} any more"),
        Shape::Incoming => format!("{nodes} heard no other node any more"),
        Shape::Bridge => format!("only {nodes} could still speak with every node"),
    }
}

fn name(message: &Sighting) -> String {
    let Sighting { id, from, to, method, .. } = message;
    format!("{from}'s {method} to {to} (message {id})")
}

fn moment(message: &Sighting) -> String {
    let Sighting { id, from, to, method, phase } = message;
    match phase {
        Phase::Request => format!(", just before {from}'s {method} reached {to} (message {id})"),
        Phase::Reply => format!(", when {to} had answered {from}'s {method} (message {id})"),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
