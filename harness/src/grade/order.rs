//! Which runs of a grade are made, in which order, and which are made again.
//!
//! The first run that fails decides its milestone. What could only fail it once more, in every grade
//! that it counts in, is spared: runs, redrawn schedules, and repetitions alone. So those that may
//! decide most grades come first.

use std::{cmp::Reverse, collections::BTreeSet, sync::Mutex, thread};

use super::{
    Request, Watcher,
    run::{self, Outcome, Plan},
    verdict::Verdict,
};
use crate::{cluster::warden::Warden, lab::Milestone};

/// How many clusters run side by side beside one whose verdict hangs on time, that one included.
const TIMED_JOBS: usize = 2;
/// How often a slow run must be slow again, alone, before it counts.
const SLOW_RERUNS: u32 = 2;

/// A run of a milestone, planned; `Milestone` says how it may be scheduled.
pub(super) type Planned<'a> = (&'a Milestone, Plan);
/// One that was made, and may have to be made again.
type Tried<'a> = (&'a Milestone, Plan, Outcome);
/// One that counts as it is.
pub(super) type Ran<'a> = (&'a Milestone, Outcome);

/// Runs all plans but those that are spared: those whose verdict does not hang on time first, `jobs`
/// side by side; then the others, with little beside them; then what was slow, or too much for the
/// machine, again and alone.
pub(super) fn run_all<'a>(
    plans: Vec<Planned<'a>>,
    request: &Request,
    warden: &Warden,
    watcher: &dyn Watcher,
) -> Vec<Ran<'a>> {
    let (timed, untimed) = plans.into_iter().partition(|(milestone, _)| milestone.timed);
    let course = Course { request, warden, watcher, failed: Mutex::default() };
    let mut ran = course.run_side_by_side(untimed, request.jobs);
    ran.extend(course.run_side_by_side(timed, request.jobs.min(TIMED_JOBS)));
    course.repeat_alone(ran)
}

/// The course of a grade, or of several whose runs are shared.
struct Course<'a, 'r> {
    request: &'r Request,
    warden: &'r Warden,
    watcher: &'r dyn Watcher,
    /// Which milestones have failed in which grades.
    failed: Mutex<BTreeSet<(&'a str, u64)>>,
}

impl<'a> Course<'a, '_> {
    fn run_side_by_side(&self, plans: Vec<Planned<'a>>, jobs: usize) -> Vec<Tried<'a>> {
        let waiting = Mutex::new(plans);
        let next = || {
            let mut waiting = waiting.lock().expect("no holder of this lock panics");
            // The longest first: what is begun last ends soon, and nobody waits beside an idle machine.
            most_urgent(&mut waiting, |(milestone, plan)| {
                (self.hang_on(milestone, plan.inputs.seed), plan.scenario.duration_ms)
            })
        };
        let ran = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                // A run needs a thread that lives as long as it.
                scope.spawn(|| {
                    while let Some((milestone, plan)) = next() {
                        let Some(outcome) = self.run(milestone, &plan) else { continue };
                        let mut ran = ran.lock().expect("no holder of this lock panics");
                        ran.push((milestone, plan, outcome));
                    }
                });
            }
        });
        ran.into_inner().expect("no holder of this lock panics")
    }

    /// Makes one run, unless it is spared.
    fn run(&self, milestone: &'a Milestone, plan: &Plan) -> Option<Outcome> {
        let wanted = || self.request.all || self.hang_on(milestone, plan.inputs.seed) > 0;
        if !wanted() {
            self.watcher.spared();
            return None;
        }
        let outcome = run::execute(plan, self.warden, wanted);
        if !needs_quiet(&outcome) {
            self.note(milestone, &outcome);
            self.watcher.ran(milestone, &outcome);
        }
        Some(outcome)
    }

    /// In how many grades a milestone may still pass, and hangs on its run with this seed.
    fn hang_on(&self, milestone: &'a Milestone, seed: u64) -> usize {
        let failed = self.failed.lock().expect("no holder of this lock panics");
        let grades = self.request.grades_with(milestone, seed);
        grades.filter(|grade| !failed.contains(&(&*milestone.id, *grade))).count()
    }

    fn note(&self, milestone: &'a Milestone, outcome: &Outcome) {
        if matches!(outcome.verdict, Verdict::Slow | Verdict::Wrong | Verdict::Broken) {
            let grades = self.request.grades_with(milestone, outcome.seed);
            let mut failed = self.failed.lock().expect("no holder of this lock panics");
            failed.extend(grades.map(|grade| (&*milestone.id, grade)));
        }
    }

    /// Repeats what has to be repeated with the machine to itself, as long as it may decide something.
    fn repeat_alone(&self, tried: Vec<Tried<'a>>) -> Vec<Ran<'a>> {
        let (mut waiting, told): (Vec<_>, Vec<_>) =
            tried.into_iter().partition(|(_, _, outcome)| needs_quiet(outcome));
        let mut ran: Vec<Ran<'a>> =
            told.into_iter().map(|(milestone, _, outcome)| (milestone, outcome)).collect();
        // What was slow is likely to be so again, and to decide something; the shortest is told soonest.
        let urgency = |(milestone, plan, outcome): &Tried<'a>| {
            let slow = outcome.verdict == Verdict::Slow;
            (self.hang_on(milestone, outcome.seed), slow, Reverse(plan.scenario.duration_ms))
        };
        while let Some((milestone, plan, mut outcome)) = most_urgent(&mut waiting, urgency) {
            if self.hang_on(milestone, outcome.seed) > 0 {
                if outcome.busy {
                    outcome = once_more_alone(&plan, &outcome, self.warden);
                }
                if outcome.verdict == Verdict::Slow {
                    outcome = confirm_slow(&plan, outcome, self.warden);
                }
                self.note(milestone, &outcome);
            }
            self.watcher.ran(milestone, &outcome);
            ran.push((milestone, outcome));
        }
        ran
    }
}

/// Takes what is most urgent from what waits.
fn most_urgent<T, U: Ord>(waiting: &mut Vec<T>, urgency: impl Fn(&T) -> U) -> Option<T> {
    let index = (0..waiting.len()).max_by_key(|index| urgency(&waiting[*index]))?;
    Some(waiting.swap_remove(index))
}

/// Whether a run has to be tried again with the machine to itself before it counts.
fn needs_quiet(outcome: &Outcome) -> bool {
    outcome.busy || outcome.verdict == Verdict::Slow
}

/// A run that the machine was too busy for, perhaps with those beside it, says what it says when it
/// is alone.
fn once_more_alone(plan: &Plan, first: &Outcome, warden: &Warden) -> Outcome {
    let run_dir = plan.run_dir.with_file_name(format!("{}-alone", first.seed));
    let again = run::execute(&Plan { run_dir, ..plan.clone() }, warden, || true);
    run::keep(Outcome { retries: first.retries + 1 + again.retries, ..again })
}

/// A run that was slow counts as slow only if it is again and again, alone on the machine.
/// Anything worse that a repetition finds counts as it is.
fn confirm_slow(plan: &Plan, first: Outcome, warden: &Warden) -> Outcome {
    for rerun in 1..=SLOW_RERUNS {
        let run_dir = plan.run_dir.with_file_name(format!("{}-again-{rerun}", first.seed));
        let again = run::execute(&Plan { run_dir, ..plan.clone() }, warden, || true);
        match again.verdict {
            Verdict::Slow => {}
            Verdict::Passed | Verdict::Inconclusive => {
                let story = format!("Slow, but not again when run alone. {}", first.story);
                let (verdict, retries) = (Verdict::Inconclusive, first.retries + rerun);
                return run::keep(Outcome { verdict, story, retries, ..first });
            }
            Verdict::Wrong | Verdict::Broken | Verdict::HarnessError => return again,
        }
    }
    run::keep(Outcome { retries: first.retries + SLOW_RERUNS, ..first })
}
