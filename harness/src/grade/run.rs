//! One run: a scenario under one seed, from starting the nodes to the verdict.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{
    efficacy::{Bites, Efficacy},
    judge::{Judged, judge},
    lateness::{Gauge, Lateness},
    places::{Place, Places},
    story,
    watch::{Observed, Trial},
};
use crate::{
    clean,
    cluster::{
        Cluster,
        process::{ProcessCluster, Spec},
        warden::Warden,
    },
    fabric::{
        Fabric, RunClock,
        fault::{Entry, Kind},
        record::{self, Recorder},
        schedule,
    },
    files::{write_json, write_lines},
    lab::Scenario,
    verdict::Verdict,
    workload::script::Script,
};

/// How often a schedule is drawn anew of which some fault hit nothing.
const REDRAWS: u32 = 3;
/// How often a cluster is laid out anew because somebody took one of its ports.
const PORT_RETRIES: u32 = 3;

/// Everything a run is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The inputs, as recorded.
    pub inputs: Inputs,
    /// What is tried.
    pub scenario: Scenario,
    /// The schedule, where it is not to be drawn: a replay.
    pub schedule: Option<Vec<Entry>>,
    /// Where everything about the run is kept.
    pub run_dir: PathBuf,
}

/// The inputs of a run: `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inputs {
    /// The version of the harness.
    pub version: String,
    /// Which lab.
    pub lab: String,
    /// Which variant of it.
    pub variant: String,
    /// Which engine.
    pub engine: String,
    /// The fingerprint of the program.
    pub fingerprint: String,
    /// The program.
    pub program: PathBuf,
    /// Which milestone.
    pub milestone: String,
    /// Which of its scenarios.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// How often the schedule was drawn anew because some fault hit nothing.
    #[serde(default)]
    pub redraws: u32,
}

/// What came of a run: `verdict.json`, and an element of a grade's `runs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Which scenario it tried.
    pub scenario: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in plain words; empty for `passed`.
    pub story: String,
    /// What the faults of each kind did.
    pub bites: BTreeMap<Kind, Bites>,
    /// The worst delay of the machine during the run, in milliseconds.
    pub lateness_ms: u64,
    /// How many bytes each node had on its disk at the end, where there is a disk.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored_bytes: BTreeMap<String, u64>,
    /// How often it was run again: redrawn schedules, and repetitions alone.
    pub retries: u32,
    /// Whether the machine was too busy to tell.
    #[serde(default)]
    pub busy: bool,
    /// A hash of everything that happened, where that can happen again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The command that tries the same schedule again.
    pub replay: String,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
    /// Where everything about it is kept.
    pub run_dir: PathBuf,
}

impl Outcome {
    fn blame_harness(&mut self, error: &anyhow::Error) {
        self.verdict = Verdict::HarnessError;
        self.story = clean::sentence(&format!("The harness failed, not the lab: {error:#}."));
    }
}

/// Runs `plan` to its verdict with no other run beside it. It needs a thread of its own, which must
/// live as long as the run. A schedule of which some fault hit nothing is drawn anew.
pub fn execute_alone(plan: &Plan, warden: &Warden) -> Outcome {
    execute(plan, &mut Places::new(1).place(), warden, || true)
}

/// Runs `plan` to its verdict, its cluster at `place`, which is free again when the run is judged.
/// It needs a thread of its own, which must live as long as the run. Where some fault hit nothing,
/// the schedule is drawn anew while `wanted` says that it matters.
pub(super) fn execute(
    plan: &Plan,
    place: &mut Place<'_>,
    warden: &Warden,
    wanted: impl Fn() -> bool,
) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome {
        seed: plan.inputs.seed,
        scenario: plan.scenario.name.clone(),
        verdict: Verdict::HarnessError,
        story: String::new(),
        bites: BTreeMap::new(),
        lateness_ms: 0,
        stored_bytes: BTreeMap::new(),
        retries: 0,
        busy: false,
        hash: None,
        replay: format!("cargo lab replay {}", crate::workspace::shown(&plan.run_dir)),
        wall_ms: 0,
        run_dir: plan.run_dir.clone(),
    };
    let redraws = if plan.schedule.is_some() { 0 } else { REDRAWS };
    for redraw in 0..=redraws {
        outcome.retries = redraw;
        match run_once(plan, redraw, place, warden) {
            Ok((judged, lateness)) => {
                outcome.verdict = judged.reason.verdict;
                outcome.busy = judged.reason.busy;
                outcome.story = story::tell(&judged.reason, &judged.struck);
                outcome.lateness_ms = lateness.worst_tick_us() / 1000;
                let Efficacy { by_kind, toothless } = judged.efficacy;
                outcome.bites = by_kind;
                outcome.stored_bytes = judged.evidence.stored_bytes;
                // What the machine was too busy for is not for another schedule to tell.
                let proves_nothing = outcome.verdict == Verdict::Inconclusive && !outcome.busy;
                if !(proves_nothing && toothless.is_some() && wanted()) {
                    break;
                }
            }
            Err(error) => {
                outcome.blame_harness(&error);
                break;
            }
        }
    }
    outcome.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    keep(outcome)
}

/// Writes the outcome into its run's folder; a disk that refuses is the harness's failure.
pub fn keep(mut outcome: Outcome) -> Outcome {
    if let Err(error) = write_json(&outcome.run_dir.join("verdict.json"), &outcome) {
        outcome.blame_harness(&error);
    }
    outcome
}

fn run_once(
    plan: &Plan,
    redraw: u32,
    place: &mut Place<'_>,
    warden: &Warden,
) -> Result<(Judged, Lateness)> {
    place.take();
    let dir = &plan.run_dir;
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let schedule = plan.schedule.clone().unwrap_or_else(|| draw(plan, redraw));
    write_json(&dir.join("run.json"), &Inputs { redraws: redraw, ..plan.inputs.clone() })?;
    write_json(&dir.join("schedule.json"), &schedule)?;
    let workload = plan.scenario.load_workload()?;
    let trial = Trial {
        scenario: &plan.scenario,
        workload: workload.as_ref(),
        seed: plan.inputs.seed,
        schedule: &schedule,
        script: Script::default(),
    };

    let (recorder, writer) = Recorder::start(&dir.join("messages.jsonl"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (observed, lateness) = runtime.block_on(observe(plan, &trial, recorder, warden))?;
    // Messages still under way are recorded when their tasks are dropped.
    drop(runtime);
    place.free();
    writer.finish()?;
    write_lines(&dir.join("history.jsonl"), &observed.history)?;
    write_lines(&dir.join("faults.jsonl"), &observed.struck)?;

    let record = dir.join("messages.jsonl");
    let mut messages = record::read(&record)?;
    record::write_decoded(&record, &mut messages, &workload.decoder())?;
    Ok((judge(&trial, observed, messages, lateness.clone()), lateness))
}

fn draw(plan: &Plan, redraw: u32) -> Vec<Entry> {
    let scenario = &plan.scenario;
    // The first draw is the seed's own; a redraw is derived from it.
    let seed = match redraw {
        0 => plan.inputs.seed,
        _ => StdRng::seed_from_u64(plan.inputs.seed ^ u64::from(redraw) << 48).random(),
    };
    schedule::draw(&scenario.faults, &scenario.node_names(), scenario.fault_window_ms(), seed)
}

async fn observe(
    plan: &Plan,
    trial: &Trial<'_>,
    recorder: Recorder,
    warden: &Warden,
) -> Result<(Observed, Lateness)> {
    let spec = Spec {
        program: plan.inputs.program.clone(),
        nodes: plan.scenario.nodes,
        seed: plan.inputs.seed,
        disk_delay_ms: plan.scenario.disk_delay_ms,
        log_dir: plan.run_dir.join("nodes"),
    };
    let decoder = trial.workload.decoder();
    let mut retries = PORT_RETRIES;
    loop {
        let clock = RunClock::default();
        let (fabric, strikes) = Fabric::new(clock.clone(), decoder.clone(), recorder.clone());
        let mut cluster = ProcessCluster::new(&spec, fabric.clone(), warden.clone()).await?;
        let nodes = cluster.nodes().to_vec();
        let observed = match trial.start(&mut cluster).await {
            Err(failure) if retries > 0 && cluster.lost_its_port(&failure) => {
                retries -= 1;
                None
            }
            Err(failure) => {
                let observed = Observed { failure: Some(failure), ..Observed::default() };
                Some((observed, Lateness::default()))
            }
            Ok(()) => {
                let mut gauge = Gauge::start(clock.clone());
                let look = |cluster: &mut ProcessCluster| {
                    gauge.note_waits(clock.now_us(), cluster.waited());
                };
                let observed = trial.watch(&mut cluster, &fabric, strikes, look).await;
                Some((observed, gauge.finish()))
            }
        };
        // The dead free what they had open.
        let no_room = cluster.no_room();
        cluster.kill(&nodes).await;
        if let Some((observed, lateness)) = observed {
            return Ok((Observed { no_room, ..observed }, lateness));
        }
    }
}
