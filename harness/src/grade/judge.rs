//! From what a trial left behind to its verdict, on whatever engine it ran.

use std::collections::BTreeMap;

use super::{
    efficacy::{self, Bites},
    lateness::Lateness,
    verdict::{self, Grounds, Reason},
    watch::{Observed, Trial},
};
use crate::{
    checker::{Finding, Late, seconds},
    fabric::{
        fault::{Kind, Struck},
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
    /// What the faults of each kind did.
    pub bites: BTreeMap<Kind, Bites>,
    /// What the clients saw and the fabric carried.
    pub evidence: Evidence,
    /// The faults that struck.
    pub struck: Vec<Struck>,
}

/// Judges what `trial` left behind, on a machine that was as late as `lateness` says. If faults
/// `must_bite`, a run in which those of some kind hit nothing proves nothing.
pub fn judge(
    trial: &Trial<'_>,
    observed: Observed,
    messages: Vec<Message>,
    lateness: Lateness,
    must_bite: bool,
) -> Judged {
    let Observed { failure, struck, history, stored_bytes, healed_us, end_us, .. } = observed;
    let scenario = trial.scenario;
    let bounds_us = scenario.bounds.iter().map(|(name, ms)| (name.clone(), ms * 1000)).collect();
    let weather = Weather::new(&struck, &scenario.node_names());
    let killed = struck.iter().filter(|struck| struck.fault.kind() == Kind::Kill);
    let restarts_us = killed.map(|struck| struck.until_us).collect();
    let on_nodes = struck.iter().filter(|struck| !struck.fault.kind().is_on_message());
    let outages = on_nodes.count();
    let evidence =
        Evidence { history, messages, weather, restarts_us, outages, stored_bytes, end_us };
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
    let bites = match must_bite {
        true => efficacy::judge(trial.schedule, &struck, &evidence.messages, &evidence.history),
        false => BTreeMap::new(),
    };
    let unanswered = unanswered(&evidence.history, &calms);
    let bites_of = bites.clone();
    let grounds =
        Grounds { failure, findings, lates, unanswered, undecided, bites: bites_of, lateness };
    Judged { reason: verdict::judge(grounds), bites, evidence, struck }
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
