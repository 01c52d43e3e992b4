//! From what a trial left behind to its verdict, on whatever engine it ran.

use super::{
    efficacy::{self, Efficacy},
    lateness::Lateness,
    reason::{self, Grounds, Reason},
    watch::{Observed, Trial},
};
use crate::{
    checker::{Finding, Late, Restart, seconds},
    fabric::{
        fault::{Fault, Phase, Struck},
        record::Message,
        weather::Weather,
    },
    history::Operation,
    workload::{Charges, Evidence},
};

/// A verdict and what it rests on.
pub struct Judged {
    /// The verdict and its reason.
    pub reason: Reason,
    /// What the faults did.
    pub efficacy: Efficacy,
    /// What the clients saw and the fabric carried.
    pub evidence: Evidence,
    /// The faults that struck.
    pub struck: Vec<Struck>,
}

/// Judges what `trial` left behind, on a machine that was as late as `lateness` says. A run in
/// which a fault that the scenario names hit nothing proves nothing.
pub fn judge(
    trial: &Trial<'_>,
    observed: Observed,
    messages: Vec<Message>,
    lateness: Lateness,
) -> Judged {
    let Observed { failure, struck, history, stored_bytes, no_room, healed_us, end_us, .. } =
        observed;
    let scenario = trial.scenario;
    let bounds_us = scenario.bounds.iter().map(|(name, ms)| (name.clone(), ms * 1000)).collect();
    let weather = Weather::new(&struck, &scenario.node_names());
    let restarts = struck.iter().flat_map(restarts).collect();
    let lateness = lateness.and(late_strikes(&struck, &messages).into_iter());
    let on_nodes = struck.iter().filter(|struck| !struck.fault.kind().is_on_message());
    let outages = on_nodes.count();
    let evidence = Evidence { history, messages, weather, restarts, outages, stored_bytes, end_us };
    let charges = trial.workload.judge(&evidence, &scenario.checks, &bounds_us);
    let Charges { findings, mut lates, undecided } = charges;
    // A run that a fallen node ended early has no calm, or not all of it.
    let first_us = scenario.fault_window_ms()[0] * 1000;
    let started = first_us >= trial.workload.starts_within_ms() * 1000;
    let calms = [(0, if started { first_us } else { 0 }), (healed_us, end_us)];
    let is_one = |(from_us, until_us): &(u64, u64)| from_us < until_us;
    // Nothing is due to clients that may have been told to want nothing.
    let calms: Vec<_> =
        calms.into_iter().filter(|calm| is_one(calm) && !trial.script.is_fixed()).collect();
    let idle = without_progress(&trial.workload.progress_us(&evidence.history), &calms);
    lates.extend(idle.map(|late| ("progress".to_owned(), late)));
    let efficacy = if scenario.faults.is_empty() {
        // Quiet, or explored: nothing that was drawn has to bite.
        Efficacy::default()
    } else {
        let Evidence { messages, history, .. } = &evidence;
        efficacy::judge(trial.schedule, &struck, messages, history, &scenario.node_names())
    };
    let unanswered = unanswered(&evidence.history, &calms);
    let toothless = efficacy.toothless.clone();
    let grounds = Grounds { failure, findings, lates, unanswered, undecided, toothless, lateness };
    let reason = reason::judge(grounds).unless_full(no_room);
    Judged { reason, efficacy, evidence, struck }
}

/// The nodes that a fault killed.
fn restarts(struck: &Struck) -> Vec<Restart> {
    let Fault::Kill { nodes } = &struck.fault else { return Vec::new() };
    let restart = |node: &String| Restart {
        node: node.clone(),
        fell_us: struck.at_us,
        back_us: struck.until_us,
    };
    nodes.iter().map(restart).collect()
}

/// When a fault on nodes or links was confirmed, and for how long the message that set it off had
/// waited for that: no fault of the service. A process that waits for a disk dies late.
fn late_strikes(struck: &[Struck], messages: &[Message]) -> Vec<(u64, u64)> {
    let on_nodes = struck.iter().filter(|struck| !struck.fault.kind().is_on_message());
    let late = on_nodes.filter_map(|struck| {
        let cause = struck.message.as_ref()?;
        let message = messages.iter().find(|it| it.id == cause.id && it.copy == 0)?;
        let since_us = match cause.phase {
            Phase::Request => Some(message.sent_us),
            Phase::Reply => message.replied_us,
        };
        Some((struck.at_us, struck.at_us.saturating_sub(since_us?)))
    });
    late.collect()
}

/// Some progress is due in each calm; the machine may be late by a part of it.
fn without_progress(progress_us: &[u64], calms: &[(u64, u64)]) -> Option<Late> {
    let idle = |(from_us, until_us): &&(u64, u64)| {
        !progress_us.iter().any(|at_us| from_us <= at_us && at_us <= until_us)
    };
    let what = "no client got what it asked for. Some should have.";
    calms.iter().find(idle).map(|calm| late_in(*calm, what))
}

/// Some node should answer some call in calm, whatever it says: the last calm, if none did in any.
fn unanswered(history: &[Operation], calms: &[(u64, u64)]) -> Option<Late> {
    let in_calm = |at_us: u64| {
        calms.iter().any(|(from_us, until_us)| (*from_us..=*until_us).contains(&at_us))
    };
    let tries = history.iter().flat_map(|operation| &operation.tries);
    let mut in_calm = tries.filter(|attempt| in_calm(attempt.return_us));
    if in_calm.any(|attempt| !attempt.is_unanswered()) {
        return None;
    }
    calms.last().map(|calm| late_in(*calm, "no node answered a single call."))
}

fn late_in((since_us, at_us): (u64, u64), what: &str) -> Late {
    let (from, until) = (seconds(since_us), seconds(at_us));
    let sentence = format!("From {from} to {until} all was calm, and {what}");
    let took_us = at_us - since_us;
    let finding = Finding { sentence, since_us, at_us, clients: Vec::new() };
    Late { finding, took_us, bound_us: took_us / 2 }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_kill_that_took_a_second_is_lateness_of_the_machine() {
        let message = json!({
            "id": 7, "copy": 0, "from": "c4", "to": "n2", "path": "/faultline.lock.v1.Guard/Write",
            "sent_us": 2_097_320, "delivered_us": 2_097_334, "replied_us": 2_120_325,
            "answered_us": null, "gave_up_us": null, "code": null, "lost": null,
            "request": "", "reply": null,
        });
        let kill = json!({
            "entry": 0, "fault": { "kind": "kill", "nodes": ["n2"] },
            "at_us": 3_173_879, "until_us": 3_248_329,
            "message": { "id": 7, "from": "c4", "to": "n2", "method": "Write", "phase": "reply" },
        });
        let (struck, messages) = ([from_value(kill).unwrap()], [from_value(message).unwrap()]);
        assert_eq!(late_strikes(&struck, &messages), [(3_173_879, 1_053_554)]);
    }
}
