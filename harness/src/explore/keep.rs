//! The folder of a simulated run: what it takes to run it again, and what happened.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::runner::Runner;
use crate::{
    files::{read_json, write_json},
    grade::run::{Inputs, Outcome},
    simulation::{Plan, Report},
    workspace::shown,
};

/// The engine of every simulated run, as it is recorded.
pub const ENGINE: &str = "simulation";

/// Runs `plan` once more, by `runner`, and keeps everything about it in `dir`.
///
/// # Errors
/// When the disk refuses, or the run is not what it was.
pub fn keep(
    dir: &Path,
    inputs: &Inputs,
    plan: &Plan,
    report: &Report,
    runner: &mut Runner,
) -> Result<Outcome> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    write_json(&dir.join("run.json"), inputs)?;
    write_json(&dir.join("plan.json"), plan)?;
    let again = runner.run(plan, Some(dir))?;
    ensure!(
        again.hash == report.hash,
        "seed {} did not run twice in the same way: the code asks something that a simulation \
         does not know of (a thread, a file, a socket)",
        plan.seed
    );
    let outcome = Outcome {
        seed: plan.seed,
        scenario: plan.scenario.name.clone(),
        verdict: report.verdict,
        story: report.story.clone(),
        bites: BTreeMap::new(),
        lateness_ms: 0,
        stored_bytes: BTreeMap::new(),
        retries: 0,
        busy: false,
        hash: Some(report.hash.clone()),
        replay: format!("cargo lab replay {}", shown(dir)),
        wall_ms: 0,
        run_dir: dir.to_owned(),
    };
    write_json(&dir.join("verdict.json"), &outcome)?;
    Ok(outcome)
}

/// Reads the plan of the run in `dir`.
///
/// # Errors
/// When there is none.
pub fn plan_of(dir: &Path) -> Result<Plan> {
    read_json(&dir.join("plan.json"))
}
