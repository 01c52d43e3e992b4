//! Grading: milestones, their runs, the score.

pub mod driver;
pub mod efficacy;
pub mod judge;
pub mod lateness;
pub mod run;
pub mod verdict;
pub mod watch;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, mpsc},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};

use self::{
    run::{Inputs, Outcome, Plan},
    verdict::Verdict,
};
use crate::{
    build::{self, BuildError, Program},
    cluster::warden::Warden,
    files::{read_json, write_json},
    lab::{Lab, Milestone},
    report::json,
    variant::Variant,
    workspace::Workspace,
};

/// What is to be graded, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose code.
    pub variant: Variant,
    /// Only these milestones; all of them when empty.
    pub milestones: Vec<String>,
    /// The first seed.
    pub seed: u64,
    /// How many seeds each milestone tries; its own number when absent.
    pub runs: Option<u32>,
    /// How many grades, one from each seed on. Neighbours share all runs but one each, and what is
    /// shared is run once.
    pub grades: u64,
    /// How many clusters run side by side.
    pub jobs: usize,
}

impl Request {
    /// How many runs of a milestone make a grade.
    fn runs_of(&self, milestone: &Milestone) -> u64 {
        u64::from(self.runs.unwrap_or(milestone.runs))
    }

    /// The seeds that a milestone is tried with, in all grades together.
    fn seeds_of(&self, milestone: &Milestone) -> impl Iterator<Item = u64> + use<> {
        let seed = self.seed;
        let seeds = self.runs_of(milestone) + self.grades - 1;
        (0..seeds).map(move |offset| seed.wrapping_add(offset))
    }

    /// The grades that a run with this seed counts in, the first one being 0.
    fn grades_with(&self, milestone: &Milestone, seed: u64) -> Range<u64> {
        let offset = seed.wrapping_sub(self.seed);
        (offset + 1).saturating_sub(self.runs_of(milestone))..self.grades.min(offset + 1)
    }
}

/// What happens while a grade is under way.
pub trait Watcher: Sync {
    /// The build begins.
    fn building(&self);
    /// So many runs begin.
    fn running(&self, runs: usize);
    /// One run has ended.
    fn ran(&self, milestone: &Milestone, outcome: &Outcome);
}

/// How many clusters run side by side beside one whose verdict hangs on time, that one included.
const TIMED_JOBS: usize = 2;
/// How often a slow run must be slow again, alone, before it counts.
const SLOW_RERUNS: u32 = 2;
/// How many grades are kept, and how many of those that went wrong.
const KEPT_GRADES: usize = 10;
const KEPT_FAILURES: usize = 30;

/// The engine of every grade.
pub const ENGINE: &str = "process";

/// Builds the variant, runs every milestone and keeps everything about it in a folder of its own,
/// which is returned with the grade.
///
/// # Errors
/// When the request makes no sense or the harness itself fails. A lab that does not compile is no
/// error: it is graded `broken`.
pub fn grade(
    workspace: &Workspace,
    lab: &Lab,
    request: &Request,
    warden: &Warden,
    watcher: &dyn Watcher,
) -> Result<(json::Grade, PathBuf)> {
    let started = Instant::now();
    let milestones = lab.selected(&request.milestones)?;
    // A variant that does not exist is the caller's mistake, and found before anything is begun.
    request.variant.gap_texts(workspace, lab)?;
    let dir = new_grade_dir(workspace, lab, &request.variant)?;
    watcher.building();
    let mut grade = json::Grade {
        format: 1,
        lab: lab.name.clone(),
        variant: request.variant.to_string(),
        engine: ENGINE.to_owned(),
        score: 0,
        max_score: milestones.iter().map(|milestone| milestone.points).sum(),
        wall_ms: 0,
        build: json::Build { ok: true, wall_ms: 0, errors: Vec::new() },
        milestones: Vec::new(),
    };
    match build::build(workspace, lab, &request.variant, build::Kind::Node, warden) {
        Ok(program) => {
            grade.build.wall_ms = program.wall_ms;
            let plans = plan(lab, &milestones, request, &program, &dir);
            watcher.running(plans.len());
            let outcomes = run_all(plans, request, warden, watcher);
            grade.milestones = milestones
                .iter()
                .map(|milestone| sum_up(milestone, outcomes_of(milestone, &outcomes)))
                .collect();
            grade.score = grade.milestones.iter().map(|milestone| milestone.points).sum();
        }
        Err(BuildError::Compile { sentence, errors, wall_ms }) => {
            eprintln!("{sentence}");
            grade.build = json::Build { ok: false, wall_ms, errors };
            let broken = |milestone: &&Milestone| sum_up_broken(milestone);
            grade.milestones = milestones.iter().map(broken).collect();
        }
        Err(BuildError::Harness(error)) => return Err(error),
    }
    grade.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    write_json(&dir.join("grade.json"), &grade)?;
    Ok((grade, dir))
}

/// A run of a milestone, planned; `Milestone` says how it may be scheduled.
type Planned<'a> = (&'a Milestone, Plan);
type Ran<'a> = (&'a Milestone, Outcome);

fn plan<'a>(
    lab: &Lab,
    milestones: &[&'a Milestone],
    request: &Request,
    program: &Program,
    dir: &Path,
) -> Vec<Planned<'a>> {
    let mut plans = Vec::new();
    for milestone in milestones {
        for seed in request.seeds_of(milestone) {
            let scenario = milestone.scenario(seed).clone();
            let inputs = Inputs {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                lab: lab.name.clone(),
                variant: request.variant.to_string(),
                engine: ENGINE.to_owned(),
                fingerprint: program.fingerprint.clone(),
                program: program.path.clone(),
                milestone: milestone.id.clone(),
                scenario: scenario.name.clone(),
                seed,
                redraws: 0,
            };
            let run_dir = dir.join(&milestone.id).join(seed.to_string());
            plans.push((*milestone, Plan { inputs, scenario, schedule: None, run_dir }));
        }
    }
    plans
}

/// Runs all plans: those whose verdict does not hang on time first, `jobs` side by side; then the
/// others, with little beside them; then what was slow again, alone, unless its milestone has failed
/// without it in every grade that it counts in.
fn run_all<'a>(
    plans: Vec<Planned<'a>>,
    request: &Request,
    warden: &Warden,
    watcher: &dyn Watcher,
) -> Vec<Ran<'a>> {
    let (timed, untimed): (Vec<_>, Vec<_>) =
        plans.into_iter().partition(|(milestone, _)| milestone.timed);
    let mut ran = run_side_by_side(untimed, request.jobs, warden, watcher);
    ran.extend(run_side_by_side(timed, request.jobs.min(TIMED_JOBS), warden, watcher));
    // The last run of one grade also counts in all that begin before the next: with those first,
    // few have to be repeated.
    ran.sort_by_key(|(milestone, _, outcome)| {
        Reverse(outcome.seed.wrapping_sub(request.seed) % request.runs_of(milestone))
    });
    let is_failure = |outcome: &Outcome| {
        !needs_quiet(outcome) && matches!(outcome.verdict, Verdict::Wrong | Verdict::Broken)
    };
    let grades_with = |milestone: &'a Milestone, outcome: &Outcome| {
        let grades = request.grades_with(milestone, outcome.seed);
        grades.map(|grade| (&*milestone.id, grade))
    };
    let failures = ran.iter().filter(|(_, _, outcome)| is_failure(outcome));
    let mut failed: BTreeSet<(&str, u64)> =
        failures.flat_map(|(milestone, _, outcome)| grades_with(milestone, outcome)).collect();
    let mut outcomes = Vec::new();
    for (milestone, plan, mut outcome) in ran {
        let wants_quiet = needs_quiet(&outcome);
        if outcome.busy {
            outcome = once_more_alone(&plan, &outcome, warden);
        }
        if outcome.verdict == Verdict::Slow {
            outcome = match grades_with(milestone, &outcome).all(|grade| failed.contains(&grade)) {
                true => outcome,
                false => confirm_slow(&plan, outcome, warden),
            };
        }
        if matches!(outcome.verdict, Verdict::Slow | Verdict::Wrong | Verdict::Broken) {
            failed.extend(grades_with(milestone, &outcome));
        }
        if wants_quiet {
            watcher.ran(milestone, &outcome);
        }
        outcomes.push((milestone, outcome));
    }
    outcomes
}

fn run_side_by_side<'a>(
    plans: Vec<Planned<'a>>,
    jobs: usize,
    warden: &Warden,
    watcher: &dyn Watcher,
) -> Vec<(&'a Milestone, Plan, Outcome)> {
    let mut plans = plans;
    // The longest first: what is begun last ends soon, and nobody waits beside an idle machine.
    plans.sort_by_key(|(_, plan)| Reverse(plan.scenario.duration_ms));
    let queue = Mutex::new(VecDeque::from(plans));
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                while let Some((milestone, plan)) = next(queue) {
                    let outcome = run::execute(&plan, warden);
                    if !needs_quiet(&outcome) {
                        watcher.ran(milestone, &outcome);
                    }
                    sender.send((milestone, plan, outcome)).expect("collected below");
                }
            });
        }
        drop(sender);
        outcomes.into_iter().collect()
    })
}

fn next<'a>(queue: &Mutex<VecDeque<Planned<'a>>>) -> Option<Planned<'a>> {
    queue.lock().expect("no holder of this lock panics").pop_front()
}

/// Whether a run has to be tried again with the machine to itself before it counts.
fn needs_quiet(outcome: &Outcome) -> bool {
    outcome.busy || outcome.verdict == Verdict::Slow
}

/// A run that the machine was too busy for, perhaps with those beside it, says what it says when it
/// is alone.
fn once_more_alone(plan: &Plan, first: &Outcome, warden: &Warden) -> Outcome {
    let run_dir = plan.run_dir.with_file_name(format!("{}-alone", first.seed));
    let again = run::execute(&Plan { run_dir, ..plan.clone() }, warden);
    run::keep(Outcome { retries: first.retries + 1 + again.retries, ..again })
}

/// A run that was slow counts as slow only if it is again and again, alone on the machine.
/// Anything worse that a repetition finds counts as it is.
fn confirm_slow(plan: &Plan, first: Outcome, warden: &Warden) -> Outcome {
    for rerun in 1..=SLOW_RERUNS {
        let run_dir = plan.run_dir.with_file_name(format!("{}-again-{rerun}", first.seed));
        let again = run::execute(&Plan { run_dir, ..plan.clone() }, warden);
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

fn outcomes_of(milestone: &Milestone, outcomes: &[Ran<'_>]) -> Vec<Outcome> {
    let own = outcomes.iter().filter(|(of, _)| of.id == milestone.id);
    let mut own: Vec<Outcome> = own.map(|(_, outcome)| outcome.clone()).collect();
    own.sort_by_key(|outcome| outcome.seed);
    own
}

fn sum_up(milestone: &Milestone, runs: Vec<Outcome>) -> json::Milestone {
    let verdict = Verdict::gravest(runs.iter().map(|outcome| outcome.verdict));
    json::Milestone {
        id: milestone.id.clone(),
        title: milestone.title.clone(),
        points: if verdict == Verdict::Passed { milestone.points } else { 0 },
        max_points: milestone.points,
        verdict,
        runs,
    }
}

fn sum_up_broken(milestone: &Milestone) -> json::Milestone {
    json::Milestone { verdict: Verdict::Broken, points: 0, ..sum_up(milestone, Vec::new()) }
}

/// Makes the folder of a new grade, and removes those that are too old to keep.
fn new_grade_dir(workspace: &Workspace, lab: &Lab, variant: &Variant) -> Result<PathBuf> {
    let runs = workspace.lab_dir().join("runs");
    fs::create_dir_all(&runs).with_context(|| format!("cannot make {}", runs.display()))?;
    forget_old(&runs, &format!("-{}-mine", lab.name))?;
    new_runs_dir(&runs, &format!("{}-{}", lab.name, variant.slug()))
}

/// Makes a folder in `runs` whose name starts with the time; a second one in the same second gets
/// a number.
///
/// # Errors
/// When the disk refuses.
pub fn new_runs_dir(runs: &Path, name: &str) -> Result<PathBuf> {
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    fs::create_dir_all(runs).with_context(|| format!("cannot make {}", runs.display()))?;
    for number in 1.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let dir = runs.join(format!("{time}-{name}{suffix}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", dir.display()));
            }
        }
    }
    unreachable!("some number is free")
}

/// Removes old grades, but never the newest one whose folder's name ends with `mine`: it is the
/// learner's progress.
fn forget_old(runs: &Path, mine: &str) -> Result<()> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(runs)?.flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    if let Some(index) = dirs.iter().rposition(|dir| dir.to_string_lossy().ends_with(mine)) {
        dirs.remove(index);
    }
    let (mut grades, mut failures) = (0, 0);
    for dir in dirs.into_iter().rev() {
        let failed = match read_json::<json::Grade>(&dir.join("grade.json")) {
            Ok(grade) => grade.verdict() != Verdict::Passed,
            // Not finished: perhaps still running.
            Err(_) => true,
        };
        let (count, kept) = match failed {
            true => (&mut failures, KEPT_FAILURES),
            false => (&mut grades, KEPT_GRADES),
        };
        *count += 1;
        if *count > kept {
            match fs::remove_dir_all(&dir) {
                // Another grade is tidying up, too.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", dir.display()))?,
            }
        }
    }
    Ok(())
}
