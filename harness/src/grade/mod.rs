//! Grading: milestones, their runs, the score.

pub mod driver;
pub mod efficacy;
pub mod graded;
pub mod judge;
mod kept;
pub mod lateness;
mod order;
mod places;
pub mod reason;
pub mod run;
pub mod story;
pub mod watch;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Result;

pub use self::kept::{new_runs_dir, progress};
use self::{
    order::Planned,
    run::{Inputs, Outcome, Plan},
};
use crate::{
    build::{self, BuildError, Program},
    cluster::warden::Warden,
    files::write_json,
    lab::{Lab, Milestone},
    output, submission,
    variant::Variant,
    verdict::Verdict,
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
    /// Whether a milestone that has failed is tried with the rest of its seeds, too.
    pub all: bool,
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

    /// The verdict of each grade; the same for all of what could not be run at all.
    pub fn verdicts(&self, milestone: &Milestone, graded: &graded::Milestone) -> Vec<Verdict> {
        let verdict = |grade| {
            let counts = |run: &&Outcome| self.grades_with(milestone, run.seed).contains(&grade);
            match graded.runs.is_empty() {
                true => graded.verdict,
                false => Verdict::gravest(graded.runs.iter().filter(counts).map(|it| it.verdict)),
            }
        };
        (0..self.grades).map(verdict).collect()
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
    /// One run is not made: its milestone has failed.
    fn spared(&self);
}

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
) -> Result<(graded::Grade, PathBuf)> {
    let started = Instant::now();
    let milestones = lab.selected(&request.milestones)?;
    // A variant that does not exist is the caller's mistake, and found before anything is begun.
    request.variant.gap_texts(workspace, lab)?;
    let not_used = request.variant.not_used(workspace, lab)?;
    submission::tell(lab, &not_used).into_iter().for_each(output::say);
    let runs = workspace.runs_dir();
    kept::forget_old(&runs)?;
    let dir = new_runs_dir(&runs, &format!("{}-{}", lab.name, request.variant.slug()))?;
    watcher.building();
    let mut grade = graded::Grade {
        format: 1,
        lab: lab.name.clone(),
        variant: request.variant.to_string(),
        not_used,
        engine: ENGINE.to_owned(),
        score: 0,
        max_score: milestones.iter().map(|milestone| milestone.points).sum(),
        wall_ms: 0,
        build: graded::Build { ok: true, wall_ms: 0, errors: Vec::new() },
        milestones: Vec::new(),
    };
    match build::build(workspace, lab, &request.variant, build::Kind::Node, warden) {
        Ok(program) => {
            grade.build.wall_ms = program.wall_ms;
            let plans = plan(lab, &milestones, request, &program, &dir);
            watcher.running(plans.len());
            let outcomes = order::run_all(plans, request, warden, watcher);
            let graded = |milestone: &&Milestone| {
                let own = outcomes.iter().filter(|(of, _)| of.id == milestone.id);
                let runs = own.map(|(_, outcome)| outcome.clone()).collect();
                sum_up(milestone, runs, request.seeds_of(milestone).count())
            };
            grade.milestones = milestones.iter().map(graded).collect();
            grade.score = grade.milestones.iter().map(|milestone| milestone.points).sum();
        }
        Err(BuildError::Compile { sentence, errors, wall_ms }) => {
            output::say(sentence);
            grade.build = graded::Build { ok: false, wall_ms, errors };
            let broken = |milestone: &&Milestone| sum_up_broken(milestone);
            grade.milestones = milestones.iter().map(broken).collect();
        }
        Err(BuildError::Harness(error)) => return Err(error),
    }
    grade.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    write_json(&dir.join("grade.json"), &grade)?;
    Ok((grade, dir))
}

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

fn sum_up(milestone: &Milestone, mut runs: Vec<Outcome>, planned: usize) -> graded::Milestone {
    runs.sort_by_key(|outcome| outcome.seed);
    let verdict = Verdict::gravest(runs.iter().map(|outcome| outcome.verdict));
    graded::Milestone {
        id: milestone.id.clone(),
        title: milestone.title.clone(),
        points: if verdict == Verdict::Passed { milestone.points } else { 0 },
        max_points: milestone.points,
        verdict,
        spared: planned - runs.len(),
        runs,
    }
}

fn sum_up_broken(milestone: &Milestone) -> graded::Milestone {
    graded::Milestone { verdict: Verdict::Broken, points: 0, ..sum_up(milestone, Vec::new(), 0) }
}
