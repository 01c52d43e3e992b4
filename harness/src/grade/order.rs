//! Which runs of a grade are made, in which order, and which are made again.
//!
//! The first run that fails decides its milestone. What could only fail it once more, in every
//! grade that it counts in, is spared unless all is wanted: runs, redrawn schedules, repetitions
//! alone. So what may decide most grades comes first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
};

use super::{
    Request, Watcher,
    places::{Place, Places},
    run::{self, Outcome, Plan},
};
use crate::{cluster::warden::Warden, lab::Milestone, verdict::Verdict};

/// How many clusters run side by side beside one whose verdict hangs on time, that one included.
const TIMED_JOBS: usize = 2;
/// How many runs may be judged while other clusters have the places that they left.
const JUDGES: usize = 2;
/// How often a slow run must be slow again, alone, before it counts.
const SLOW_RERUNS: u32 = 2;

/// A run of a milestone, planned; `Milestone` says how it may be scheduled.
pub(super) type Planned<'a> = (&'a Milestone, Plan);
/// One that was made, and may have to be made again.
type Tried<'a> = (&'a Milestone, Plan, Outcome);
/// One that counts as it is.
pub(super) type Ran<'a> = (&'a Milestone, Outcome);

/// Runs all plans but those that are spared: those whose verdict does not hang on time first,
/// `jobs` side by side; then the others, with little beside them; then what was slow, or too much
/// for the machine, again and alone.
pub(super) fn run_all<'a>(
    plans: Vec<Planned<'a>>,
    request: &Request,
    warden: &Warden,
    watcher: &dyn Watcher,
) -> Vec<Ran<'a>> {
    let (timed, untimed) = plans.into_iter().partition(|(milestone, _)| milestone.timed);
    let course = Course { request, warden, watcher, failed: Mutex::default() };
    let jobs = request.jobs.max(1);
    // One at a time, each is judged before the next: its verdict may spare that.
    let mut ran = course.run_side_by_side(untimed, jobs, JUDGES.min(jobs - 1));
    // To judge beside a run whose verdict hangs on time would keep a processor from it.
    ran.extend(course.run_side_by_side(timed, jobs.min(TIMED_JOBS), 0));
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
    /// Runs `clusters` side by side, and judges up to `judges` more runs beside them.
    fn run_side_by_side(
        &self,
        plans: Vec<Planned<'a>>,
        clusters: usize,
        judges: usize,
    ) -> Vec<Tried<'a>> {
        let places = Places::new(clusters);
        let begun = BTreeMap::<&str, usize>::new();
        let queue = Mutex::new((plans, begun));
        let next = || {
            let (waiting, begun) = &mut *queue.lock().expect("no holder of this lock panics");
            // A milestone that has begun may soon be decided. Then the longest: what is begun last
            // ends soon, and nobody waits beside an idle machine.
            let planned = most_urgent(waiting, |(milestone, plan)| {
                let begun = begun.get(&*milestone.id).copied().unwrap_or_default();
                let undecided = self.undecided(milestone, plan.inputs.seed);
                (undecided, Reverse(begun), plan.scenario.duration_ms)
            })?;
            *begun.entry(&planned.0.id).or_default() += 1;
            Some(planned)
        };
        let ran = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..clusters + judges {
                // A run needs a thread that lives as long as it.
                scope.spawn(|| {
                    let mut place = places.place();
                    loop {
                        // What is most urgent is known when there is a place for it.
                        place.take();
                        let Some((milestone, plan)) = next() else { break };
                        let Some(outcome) = self.run(milestone, &plan, &mut place) else {
                            continue;
                        };
                        let mut ran = ran.lock().expect("no holder of this lock panics");
                        ran.push((milestone, plan, outcome));
                    }
                });
            }
        });
        ran.into_inner().expect("no holder of this lock panics")
    }

    /// Makes one run, unless it is spared.
    fn run(&self, milestone: &'a Milestone, plan: &Plan, place: &mut Place<'_>) -> Option<Outcome> {
        let wanted = || self.wants(milestone, plan.inputs.seed);
        if !wanted() {
            self.watcher.spared();
            return None;
        }
        let outcome = run::execute(plan, place, self.warden, wanted);
        if !needs_quiet(&outcome) {
            self.note(milestone, &outcome);
            self.watcher.ran(milestone, &outcome);
        }
        Some(outcome)
    }

    /// Whether a run with this seed may still decide something, or is wanted all the same.
    fn wants(&self, milestone: &'a Milestone, seed: u64) -> bool {
        self.request.all || self.undecided(milestone, seed) > 0
    }

    /// How many grades there are that a run with this seed counts in, and in which its milestone
    /// has not failed.
    fn undecided(&self, milestone: &'a Milestone, seed: u64) -> usize {
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

    /// Repeats what has to be repeated with the machine to itself, as long as it may decide
    /// something.
    fn repeat_alone(&self, tried: Vec<Tried<'a>>) -> Vec<Ran<'a>> {
        let (mut waiting, told): (Vec<_>, Vec<_>) =
            tried.into_iter().partition(|(_, _, outcome)| needs_quiet(outcome));
        let mut ran: Vec<Ran<'a>> =
            told.into_iter().map(|(milestone, _, outcome)| (milestone, outcome)).collect();
        // What was slow is likely to be so again, and to decide something; the shortest is told
        // soonest.
        let urgency = |(milestone, plan, outcome): &Tried<'a>| {
            let slow = outcome.verdict == Verdict::Slow;
            (self.undecided(milestone, outcome.seed), slow, Reverse(plan.scenario.duration_ms))
        };
        while let Some((milestone, plan, mut outcome)) = most_urgent(&mut waiting, urgency) {
            outcome = match self.wants(milestone, outcome.seed) {
                true => again_alone(&plan, outcome, self.warden),
                false if outcome.busy => outcome,
                false => unproven("Slow, and not tried alone: its milestone had failed.", outcome),
            };
            self.note(milestone, &outcome);
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
/// is alone. One that was slow counts as slow only if it is again and again; anything worse that a
/// repetition finds counts as it is.
fn again_alone(plan: &Plan, mut outcome: Outcome, warden: &Warden) -> Outcome {
    let alone = |what: &str| {
        let run_dir = plan.run_dir.with_file_name(format!("{}-{what}", plan.inputs.seed));
        run::execute_alone(&Plan { run_dir, ..plan.clone() }, warden)
    };
    if outcome.busy {
        let again = alone("alone");
        outcome = run::keep(Outcome { retries: outcome.retries + 1 + again.retries, ..again });
    }
    if outcome.verdict != Verdict::Slow {
        return outcome;
    }
    for rerun in 1..=SLOW_RERUNS {
        let again = alone(&format!("again-{rerun}"));
        outcome.retries += 1;
        match again.verdict {
            Verdict::Slow => {}
            Verdict::Passed | Verdict::Inconclusive => {
                return unproven("Slow, but not again when run alone.", outcome);
            }
            Verdict::Wrong | Verdict::Broken | Verdict::HarnessError => return again,
        }
    }
    run::keep(outcome)
}

/// What was slow, and does not count as that.
fn unproven(why: &str, slow: Outcome) -> Outcome {
    let story = format!("{why} {}", slow.story);
    run::keep(Outcome { verdict: Verdict::Inconclusive, story, ..slow })
}
