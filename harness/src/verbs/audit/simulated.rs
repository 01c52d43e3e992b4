//! The audit in simulation: how soon the schedules of the milestone that must catch a wrong answer
//! do, and in how many the reference holds. All variants are one program.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

use super::demands::{Demand, Row};
use crate::{
    build::{self, BuildError, Kind, Program},
    cluster::{simulated::store::DiskKind, warden::Warden},
    explore::{self, Limits, draw::Source},
    lab::{Lab, Milestone},
    output,
    report::terminal::{labelled, wrapped},
    variant::Variant,
    verdict::Verdict,
    workspace::Workspace,
};

/// How an audit is made in simulation.
#[derive(clap::Args, Debug)]
pub struct Simulated {
    /// Audit in simulation: how many schedules it takes to find each gap and wrong answer
    #[arg(long, conflicts_with_all = ["grades", "demanded", "all", "jobs"])]
    simulated: bool,
    /// In simulation: how many schedules may be needed at most
    #[arg(long, default_value_t = 2000, requires = "simulated")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    schedules: u64,
    /// In simulation: from how many first seeds each is looked for
    #[arg(long, default_value_t = 1, requires = "simulated")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    turns: u64,
    /// In simulation: in how many schedules the reference must hold
    #[arg(long, default_value_t = 200, requires = "simulated")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    reference: u64,
    /// In simulation: by a program that is not optimised, which is there sooner
    #[arg(long, requires = "simulated")]
    unoptimised: bool,
}

impl Simulated {
    /// The kind of program that simulates, if one is to.
    pub fn kind(&self) -> Option<Kind> {
        self.simulated.then(|| Kind::simulation(self.unoptimised))
    }
}

/// How far apart first seeds are: nothing else has used those in between.
const SEEDS_APART: u64 = 1_000_000;

/// A variant that some schedule of some milestones must find.
struct Sought<'a> {
    row: &'a Row,
    milestones: Vec<&'a Milestone>,
    program: Program,
}

/// What one schedule after the other came to.
enum Found {
    /// So many were needed, and the last one was what is demanded.
    After(u64, Verdict),
    /// What failed first failed in another way.
    Otherwise(u64, Verdict),
    Nothing,
}

/// Audits one lab, prints a line for each variant, and returns how many demands are unmet.
///
/// # Errors
/// When a variant does not build, or the harness fails.
pub fn audit(
    workspace: &Workspace,
    lab: &Lab,
    rows: &[Row],
    kind: Kind,
    args: &super::Args,
    warden: &Warden,
) -> Result<usize> {
    let rows: Vec<_> = rows.iter().filter(|row| is_judged(row)).collect();
    let variants: Vec<_> = rows.iter().map(|row| row.variant.clone()).collect();
    output::say(format_args!(
        "building {} variants of {} into one program",
        variants.len(),
        lab.name
    ));
    let programs = match build::build_together(workspace, lab, &variants, kind, warden) {
        Ok(programs) => programs,
        Err(BuildError::Harness(error)) => return Err(error),
        Err(BuildError::Compile { sentence, .. }) => return Err(anyhow::anyhow!(sentence)),
    };
    let mut unmet = 0;
    let mut sought = Vec::new();
    for (row, program) in rows.into_iter().zip(programs) {
        if row.variant == Variant::Reference {
            unmet += hold(lab, &program, args, warden)?;
        } else {
            sought.push(Sought { row, milestones: catchers(lab, row), program });
        }
    }
    unmet += search(&sought, args, warden)?;
    match unmet {
        0 => output::print(format_args!("simulated audit of {}: every demand is met", lab.name)),
        count => output::print(format_args!("simulated audit of {}: {count} unmet", lab.name)),
    }
    Ok(unmet)
}

/// What passes one milestone may fail in its schedules made wider, and what must only not pass is
/// no mistake by itself.
fn is_judged(row: &Row) -> bool {
    row.variant == Variant::Reference || row.caught_somewhere || !demanded(row).is_empty()
}

/// The places of the milestones that must catch the row's variant.
fn demanded(row: &Row) -> Vec<usize> {
    let catches = |demand: &Demand| matches!(demand, Demand::Caught | Demand::Exactly(_));
    (0..row.demands.len()).filter(|at| catches(&row.demands[*at])).collect()
}

fn catchers<'a>(lab: &'a Lab, row: &Row) -> Vec<&'a Milestone> {
    let named: Vec<_> = demanded(row).into_iter().map(|at| &lab.milestones[at]).collect();
    if named.is_empty() { lab.milestones.iter().collect() } else { named }
}

/// Lets the reference hold in as many schedules as are wanted; 1 if it does not.
fn hold(lab: &Lab, program: &Program, args: &super::Args, warden: &Warden) -> Result<usize> {
    let source = Source::new(&lab.selected(&[])?, DiskKind::default())?;
    let (seed, schedules) = (args.seed, args.simulated.reference);
    let limits = Limits { seed, schedules, time: None, jobs: explore::processors(), all: true };
    let held = AtomicU64::new(0);
    let found = explore::explore(&source, program, limits, warden, |_, report| {
        held.fetch_add(u64::from(report.verdict == Verdict::Passed), Ordering::Relaxed);
    })?;
    let (ran, held) = (found.schedules, held.into_inner());
    output::print(format_args!("reference: held in {held} of {ran} schedules"));
    for failure in &found.failures {
        let seed = format!("seed {}", failure.drawn.plan.seed);
        output::print(labelled(&seed, &failure.report.story));
    }
    Ok(usize::from(held < ran))
}

/// Looks for all of them, a few side by side, and prints what was found; how many were missed.
fn search(sought: &[Sought<'_>], args: &super::Args, warden: &Warden) -> Result<usize> {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    let search_one_by_one = || -> Result<()> {
        while let Some(it) = sought.get(next.fetch_add(1, Ordering::Relaxed)) {
            let turns = (0..args.simulated.turns).map(|turn| find(it, turn, args, warden));
            let turns = turns.collect::<Result<Vec<_>>>().context(it.row.variant.to_string())?;
            output::print(line(it, &turns));
            lines.lock().expect("no holder of this lock panics").extend(turns);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..explore::processors()).map(|_| scope.spawn(search_one_by_one)).collect();
        jobs.into_iter().try_for_each(|job| job.join().expect("a job does not panic"))
    })?;
    let found = lines.into_inner().expect("no holder of this lock panics");
    Ok(found.iter().filter(|found| !matches!(found, Found::After(..))).count())
}

fn find(it: &Sought<'_>, turn: u64, args: &super::Args, warden: &Warden) -> Result<Found> {
    let source = Source::new(&it.milestones, DiskKind::default())?;
    let seed = args.seed.wrapping_add(turn * SEEDS_APART);
    // One job: how many schedules are needed is then the same each time.
    let schedules = args.simulated.schedules;
    let limits = Limits { seed, schedules, time: None, jobs: 1, all: false };
    let found = explore::explore(&source, &it.program, limits, warden, |_, _| {})?;
    Ok(match found.failures.first() {
        Some(failure) if Demand::Caught.is_met(failure.report.verdict) => {
            Found::After(found.schedules, failure.report.verdict)
        }
        Some(failure) => Found::Otherwise(found.schedules, failure.report.verdict),
        None => Found::Nothing,
    })
}

fn line(it: &Sought<'_>, turns: &[Found]) -> String {
    let show = |found: &Found| match found {
        Found::After(schedules, verdict) => format!("{schedules} ({verdict})"),
        Found::Otherwise(schedules, verdict) => {
            format!("{schedules} ({verdict}, which is not demanded)")
        }
        Found::Nothing => "missed".to_owned(),
    };
    let turns: Vec<_> = turns.iter().map(show).collect();
    let milestones: Vec<_> = it.milestones.iter().map(|it| it.id.as_str()).collect();
    let by = if milestones.len() == 1 { milestones[0] } else { "any" };
    wrapped(&format!("{}: {by} after {}", it.row.variant, turns.join(", ")))
}
