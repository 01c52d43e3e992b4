//! Exploring: many simulated runs, until one fails.

pub mod draw;
pub mod keep;
pub mod runner;
pub mod shrink;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use self::{
    draw::{Drawn, Source},
    runner::Runner,
};
use crate::{build::Program, cluster::warden::Warden, simulation::Report};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The first seed.
    pub seed: u64,
    /// How many schedules at most.
    pub schedules: u64,
    /// For how long at most.
    pub time: Option<Duration>,
    /// How many runners.
    pub jobs: usize,
    /// Whether to go on after a failure.
    pub all: bool,
}

/// A run that failed.
pub struct Failure {
    /// What was tried.
    pub drawn: Drawn,
    /// What came of it.
    pub report: Report,
}

/// What was found.
pub struct Found {
    /// How many schedules were run.
    pub schedules: u64,
    /// How long that took.
    pub took: Duration,
    /// Those that failed, by seed: the first one unless all were wanted.
    pub failures: Vec<Failure>,
}

/// How many runners are of use side by side.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs schedule after schedule by `program`; `on_run` hears of each.
///
/// # Errors
/// When the harness itself fails.
pub fn explore(
    source: &Source<'_>,
    program: &Program,
    limits: Limits,
    warden: &Warden,
    on_run: impl Fn(&Drawn, &Report) + Sync,
) -> Result<Found> {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (failures, ran) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let explore_one_by_one = || -> Result<()> {
        let mut runner = Runner::new(program, warden);
        while !stop.load(Ordering::Relaxed) && limits.time.is_none_or(|it| started.elapsed() < it) {
            let offset = next.fetch_add(1, Ordering::Relaxed);
            if offset >= limits.schedules {
                break;
            }
            let drawn = source.draw(limits.seed.wrapping_add(offset))?;
            let report = runner.run(&drawn.plan, None)?;
            ran.fetch_add(1, Ordering::Relaxed);
            on_run(&drawn, &report);
            if report.failed() {
                stop.fetch_or(!limits.all, Ordering::Relaxed);
                failures.lock().expect("no holder panics").push(Failure { drawn, report });
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..limits.jobs.max(1)).map(|_| scope.spawn(explore_one_by_one)).collect();
        jobs.into_iter().try_for_each(|job| job.join().expect("a job does not panic"))
    })?;
    let mut failures = failures.into_inner().expect("no holder panics");
    failures.sort_by_key(|failure| failure.drawn.plan.seed);
    Ok(Found { schedules: ran.into_inner(), took: started.elapsed(), failures })
}
