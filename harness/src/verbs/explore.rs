//! `lab explore`: thousands of schedules in simulation, until one fails.

use std::{path::Path, time::Duration};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Code, begin, simulation_of};
use crate::{
    build::Kind,
    clean,
    cluster::simulated::store::DiskKind,
    explore::{
        self, Failure, Found, Limits,
        draw::{Drawn, Source},
        keep::{self, keep},
        runner::Runner,
    },
    grade::{self, run::Inputs},
    lab::Lab,
    output,
    report::terminal::{labelled, say_beside, wrapped},
    simulation::Report,
    variant::Variant,
    verdict::Verdict,
    workspace::shown,
};

/// What is to be explored, and how far.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    code: Code,
    /// Only what this milestone tries, made wider; may be repeated
    #[arg(long, value_name = "ID")]
    milestone: Vec<String>,
    /// How many schedules at most [default: 2000, or as many as --seconds allows]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    schedules: Option<u64>,
    /// For how many seconds at most
    #[arg(long)]
    seconds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many processes simulate side by side [default: one a processor]
    #[arg(long)]
    jobs: Option<usize>,
    /// What the nodes keep their records in
    #[arg(long, value_enum, default_value = "memory")]
    disk: Disk,
    /// Go on after a failure, and count them
    #[arg(long)]
    all: bool,
    /// Simulate by a program that is not optimised: it must behave the same
    #[arg(long, hide = true)]
    unoptimised: bool,
}

/// A kind of disk, as the command line names it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Disk {
    /// Memory: what was not saved in time is gone after a crash. The fastest
    Memory,
    /// sled, in files, as in a node that is a process
    Sled,
}

impl From<Disk> for DiskKind {
    fn from(disk: Disk) -> Self {
        match disk {
            Disk::Memory => Self::Memory,
            Disk::Sled => Self::Sled,
        }
    }
}

/// How many schedules are explored if nothing else is said.
const SCHEDULES: u64 = 2000;
/// How many failures are kept when all are wanted.
const KEPT: usize = 20;

/// Explores, and tells of the first failure. The exit code is that of the gravest verdict.
///
/// # Errors
/// When the arguments make no sense, the lab does not build, or the harness fails.
pub fn run(args: &Args) -> Result<u8> {
    let (workspace, lab, variant) = args.code.find()?;
    let source = Source::new(&lab.selected(&args.milestone)?, args.disk.into())?;
    let warden = begin(&workspace, Kind::simulation(args.unoptimised))?;
    let Some(program) = simulation_of(&workspace, &lab, &variant, args.unoptimised, &warden)?
    else {
        return Ok(Verdict::Broken.exit_code());
    };
    let unlimited = if args.seconds.is_some() { u64::MAX } else { SCHEDULES };
    let limits = Limits {
        seed: args.seed,
        schedules: args.schedules.unwrap_or(unlimited),
        time: args.seconds.map(Duration::from_secs),
        jobs: args.jobs.unwrap_or_else(explore::processors),
        all: args.all,
    };
    let progress = Progress::new(&format!("{} ({variant})", lab.name), limits);
    let found = explore::explore(&source, &program, limits, &warden, |drawn, report| {
        progress.ran(drawn, report);
    });
    progress.bar.finish_and_clear();
    let found = found?;
    let inputs = |drawn: &Drawn| Inputs {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lab: lab.name.clone(),
        variant: variant.to_string(),
        engine: keep::ENGINE.to_owned(),
        fingerprint: program.fingerprint.clone(),
        program: program.path.clone(),
        milestone: drawn.milestone.clone(),
        scenario: drawn.plan.scenario.name.clone(),
        seed: drawn.plan.seed,
        redraws: 0,
    };
    let mut first_dir = None;
    if !found.failures.is_empty() {
        let name = format!("{}-{}-explore", lab.name, variant.slug());
        let dir = grade::new_runs_dir(&workspace.runs_dir(), &name)?;
        let mut runner = Runner::new(&program, &warden);
        for Failure { drawn, report } in found.failures.iter().take(KEPT) {
            let run_dir = dir.join(&drawn.milestone).join(drawn.plan.seed.to_string());
            if !report.hash.is_empty() {
                keep(&run_dir, &inputs(drawn), &drawn.plan, report, &mut runner)?;
            }
            first_dir.get_or_insert(run_dir);
        }
    }
    sum_up(&lab, &variant, &found);
    if let (Some(failure), Some(run_dir)) = (found.failures.first(), first_dir) {
        tell(failure, &run_dir);
    }
    Ok(Verdict::gravest(found.failures.iter().map(|it| it.report.verdict)).exit_code())
}

fn sum_up(lab: &Lab, variant: &Variant, found: &Found) {
    let seconds = found.took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = found.schedules as f64 / seconds.max(0.001);
    output::print(wrapped(&format!(
        "{} ({variant}): {} schedules in {seconds:.1} s ({rate:.0} a second), {} failed",
        lab.name,
        found.schedules,
        found.failures.len()
    )));
}

fn tell(failure: &Failure, run_dir: &Path) {
    let Failure { drawn, report } = failure;
    let plan = &drawn.plan;
    output::print(wrapped(&format!(
        "\nseed {} ({}), of milestone {}, scenario {}: {} faults, {} operations",
        plan.seed,
        report.verdict,
        drawn.milestone,
        plan.scenario.name,
        plan.schedule.len(),
        report.operations,
    )));
    output::print(labelled("happened", &report.story));
    if report.hash.is_empty() {
        return;
    }
    let dir = shown(run_dir);
    output::print(format_args!("  again:    cargo lab replay {dir}"));
    output::print(format_args!("  smaller:  cargo lab shrink {dir}"));
    output::print(format_args!("  for real: cargo lab replay --processes {dir}"));
}

/// Shows the rate while it goes on.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(what: &str, limits: Limits) -> Self {
        let bar = match limits.schedules {
            u64::MAX => ProgressBar::new_spinner(),
            schedules => ProgressBar::new(schedules),
        };
        let template = "{spinner} {pos}/{len} schedules of {msg}, {per_sec}, {elapsed}";
        bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
        bar.set_message(clean::sentence(what));
        Self { bar }
    }

    fn ran(&self, drawn: &Drawn, report: &Report) {
        self.bar.inc(1);
        if report.failed() {
            let seed = drawn.plan.seed;
            let line = format!("  {} seed {seed}: {}", drawn.milestone, report.verdict);
            say_beside(&self.bar, &line);
        }
    }
}
