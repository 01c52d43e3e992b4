//! Which verdict a run gets, and why.

use std::path::PathBuf;

use super::lateness::Lateness;
use crate::{
    checker::{Finding, Late, Named, seconds},
    cluster::NodeFailure,
    verdict::Verdict,
};

/// All that a verdict rests on.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// A node that fell by itself.
    pub failure: Option<NodeFailure>,
    /// Promises that were broken.
    pub findings: Vec<Named<Finding>>,
    /// What was late, progress included.
    pub lates: Vec<Named<Late>>,
    /// The calm in which no call was answered, if none was.
    pub unanswered: Option<Late>,
    /// What a check gave up on.
    pub undecided: Option<String>,
    /// Which fault that the scenario names did nothing, if one did.
    pub toothless: Option<String>,
    /// How late the machine was.
    pub lateness: Lateness,
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one sentence; empty for `passed`.
    pub sentence: String,
    /// The finding behind it, if there is one.
    pub finding: Option<Finding>,
    /// The check or bound that found it.
    pub check: Option<String>,
    /// Whether only the machine's lateness kept it from being graver.
    pub busy: bool,
}

impl Reason {
    fn new(verdict: Verdict, sentence: impl Into<String>) -> Self {
        Self { verdict, sentence: sentence.into(), finding: None, check: None, busy: false }
    }

    fn of(verdict: Verdict, finding: Finding) -> Self {
        let sentence = finding.sentence.clone();
        Self { finding: Some(finding), ..Self::new(verdict, sentence) }
    }

    fn by(self, check: String) -> Self {
        Self { check: Some(check), ..self }
    }

    /// The same, unless there was no room in the place named and that may be why: answers that
    /// clients were given stand, but errors, silence and falls may come of it.
    pub fn unless_full(self, no_room: Option<PathBuf>) -> Self {
        match no_room {
            Some(place) if ![Verdict::Passed, Verdict::Wrong].contains(&self.verdict) => {
                let place = place.display();
                let sentence = format!(
                    "The harness failed, not the lab: no room is left in {place}: free some."
                );
                Self::new(Verdict::HarnessError, sentence)
            }
            _ => self,
        }
    }
}

/// Judges a run. What a client could be harmed by comes first, what proves nothing last.
pub fn judge(grounds: Grounds) -> Reason {
    match grounds.failure {
        Some(failure) if failure.by_machine => {
            let sentence = format!("The harness failed, not the lab: {failure}.");
            return Reason::new(Verdict::HarnessError, sentence);
        }
        Some(failure) => return Reason::new(Verdict::Broken, format!("{failure}.")),
        None => {}
    }
    let first = grounds.findings.into_iter().min_by_key(|(_, finding)| finding.at_us);
    if let Some((check, finding)) = first {
        return Reason::of(Verdict::Wrong, finding).by(check);
    }
    if let Some(unanswered) = grounds.unanswered {
        return judge_late(unanswered, Verdict::Broken, &grounds.lateness);
    }
    let late = |(check, late)| judge_late(late, Verdict::Slow, &grounds.lateness).by(check);
    let lates: Vec<_> = grounds.lates.into_iter().map(late).collect();
    let slow = lates.iter().find(|reason| reason.verdict == Verdict::Slow);
    if let Some(reason) = slow.or(lates.first()) {
        return reason.clone();
    }
    if let Some(sentence) = grounds.undecided {
        return Reason::new(Verdict::Inconclusive, sentence);
    }
    match grounds.toothless {
        Some(sentence) => Reason::new(Verdict::Inconclusive, sentence),
        None => Reason::new(Verdict::Passed, ""),
    }
}

/// The machine's own lateness widens a bound twice over; past a quarter of it, nothing can be said.
fn judge_late(late: Late, verdict: Verdict, lateness: &Lateness) -> Reason {
    let machine_us = lateness.within(late.finding.since_us, late.finding.at_us);
    if machine_us * 4 < late.bound_us && late.took_us > late.bound_us + 2 * machine_us {
        return Reason::of(verdict, late.finding);
    }
    let sentence = format!(
        "The machine was busy (up to {} late), so this proves nothing: {}",
        seconds(machine_us),
        late.finding.sentence
    );
    let reason = Reason::new(Verdict::Inconclusive, sentence);
    Reason { finding: Some(late.finding), busy: true, ..reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(took_us: u64) -> Late {
        let finding =
            Finding { sentence: "late".into(), since_us: 0, at_us: 2_000, clients: Vec::new() };
        Late { finding, took_us, bound_us: 1_000 }
    }

    fn verdict_of(took_us: u64, machine_late_us: u64) -> Verdict {
        let lateness = Lateness::of_one_tick(1_000, machine_late_us);
        let lates = vec![("written".into(), late(took_us))];
        judge(Grounds { lates, lateness, ..Grounds::default() }).verdict
    }

    #[test]
    fn the_machine_may_be_late_by_a_part_of_a_bound() {
        assert_eq!(verdict_of(1_001, 0), Verdict::Slow);
        assert_eq!(verdict_of(1_401, 200), Verdict::Slow);
        // Widened by twice the machine's own lateness.
        assert_eq!(verdict_of(1_400, 200), Verdict::Inconclusive);
        // Past a quarter of the bound nothing can be said.
        assert_eq!(verdict_of(9_000, 250), Verdict::Inconclusive);
    }

    #[test]
    fn what_harms_clients_comes_before_what_is_late_or_proves_nothing() {
        let finding = late(0).finding;
        let failure =
            |by_machine| NodeFailure { by_machine, ..NodeFailure::own("n1", "fell".into()) };
        let mut grounds =
            Grounds { toothless: Some("No kill hit anything.".into()), ..Grounds::default() };
        assert_eq!(judge(grounds.clone()).verdict, Verdict::Inconclusive);
        grounds.lates.push(("written".into(), late(5_000)));
        assert_eq!(judge(grounds.clone()).verdict, Verdict::Slow);
        grounds.unanswered = Some(late(5_000));
        assert_eq!(judge(grounds.clone()).verdict, Verdict::Broken);
        grounds.findings.push(("fenced".into(), finding));
        assert_eq!(judge(grounds.clone()).verdict, Verdict::Wrong);
        grounds.failure = Some(failure(false));
        assert_eq!(judge(grounds.clone()).verdict, Verdict::Broken);
        grounds.failure = Some(failure(true));
        assert_eq!(judge(grounds).verdict, Verdict::HarnessError);
    }

    #[test]
    fn a_full_disk_excuses_all_but_what_clients_were_told() {
        for (verdict, expected) in [
            (Verdict::Passed, Verdict::Passed),
            (Verdict::Wrong, Verdict::Wrong),
            (Verdict::Slow, Verdict::HarnessError),
            (Verdict::Inconclusive, Verdict::HarnessError),
            (Verdict::Broken, Verdict::HarnessError),
        ] {
            let reason = Reason::new(verdict, "so it was");
            assert_eq!(reason.clone().unless_full(None), reason);
            assert_eq!(reason.unless_full(Some("/dev/shm".into())).verdict, expected);
        }
    }
}
