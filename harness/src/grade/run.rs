//! One run: a scenario under one seed, from starting the nodes to the verdict.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet};

use super::{
    driver::Driver,
    efficacy::{self, Bites},
    lateness::{Gauge, Lateness},
    verdict::{self, Grounds, Reason, Verdict},
};
use crate::{
    checker::{Finding, Late, seconds},
    cluster::{
        Cluster, NodeFailure,
        process::{ProcessCluster, Spec},
        warden::Warden,
    },
    fabric::{
        Fabric, RunClock, Strike,
        decode::Decoder,
        fault::{Entry, Kind, Struck},
        record::{Message, Recorder, read_lines},
        schedule,
        weather::Weather,
    },
    history::{History, Operation},
    lab::Scenario,
    report::story,
    workload::{Client, Evidence, Workload},
};

/// How often a schedule that hit nothing is drawn anew.
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
    /// How often the schedule was drawn anew because it hit nothing.
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
    /// How often it was run again: redrawn schedules, and repetitions of a slow run.
    pub retries: u32,
    /// Whether the machine was too busy to tell.
    #[serde(default)]
    pub busy: bool,
    /// The command that tries the same schedule again.
    pub replay: String,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
    /// Where everything about it is kept.
    pub run_dir: PathBuf,
}

/// Runs `plan` to its verdict. It needs a thread of its own, which must live as long as the run.
pub fn execute(plan: &Plan, warden: &Warden) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome {
        seed: plan.inputs.seed,
        scenario: plan.scenario.name.clone(),
        verdict: Verdict::HarnessError,
        story: String::new(),
        bites: BTreeMap::new(),
        lateness_ms: 0,
        retries: 0,
        busy: false,
        replay: format!("cargo lab replay {}", crate::workspace::shown(&plan.run_dir)),
        wall_ms: 0,
        run_dir: plan.run_dir.clone(),
    };
    let redraws = if plan.schedule.is_some() { 0 } else { REDRAWS };
    for redraw in 0..=redraws {
        outcome.retries = redraw;
        match run_once(plan, redraw, warden) {
            Ok(judged) => {
                outcome.verdict = judged.reason.verdict;
                outcome.busy = judged.reason.busy;
                outcome.story = story::tell(&judged.reason, &judged.struck);
                outcome.lateness_ms = judged.lateness_us / 1000;
                let toothless = judged.bites.values().any(|bites| bites.bit == 0);
                outcome.bites = judged.bites;
                if outcome.verdict != Verdict::Inconclusive || !toothless {
                    break;
                }
            }
            Err(error) => {
                outcome.verdict = Verdict::HarnessError;
                outcome.story = format!("The harness failed, not the lab: {error:#}.");
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
        outcome.verdict = Verdict::HarnessError;
        outcome.story = format!("The harness failed, not the lab: {error:#}.");
    }
    outcome
}

struct Judged {
    reason: Reason,
    struck: Vec<Struck>,
    bites: BTreeMap<Kind, Bites>,
    lateness_us: u64,
}

/// What the part of a run that needs the nodes leaves behind, besides the record of messages.
#[derive(Default)]
struct Observed {
    failure: Option<NodeFailure>,
    struck: Vec<Struck>,
    history: Vec<Operation>,
    lateness: Lateness,
    /// When the storm was over and every node ready again.
    healed_us: u64,
    end_us: u64,
}

fn run_once(plan: &Plan, redraw: u32, warden: &Warden) -> Result<Judged> {
    let dir = &plan.run_dir;
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let schedule = plan.schedule.clone().unwrap_or_else(|| draw(plan, redraw));
    write_json(&dir.join("run.json"), &Inputs { redraws: redraw, ..plan.inputs.clone() })?;
    write_json(&dir.join("schedule.json"), &schedule)?;
    let workload = plan.scenario.load_workload()?;

    let (recorder, writer) = Recorder::start(&dir.join("messages.jsonl"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let observed =
        runtime.block_on(observe(plan, &schedule, workload.as_ref(), recorder, warden))?;
    // Messages still under way are recorded when their tasks are dropped.
    drop(runtime);
    writer.finish()?;
    write_lines(&dir.join("history.jsonl"), &observed.history)?;
    write_lines(&dir.join("faults.jsonl"), &observed.struck)?;

    let mut messages: Vec<Message> = read_lines(&dir.join("messages.jsonl"))?;
    let decoder = Decoder::new(workload.descriptors())?;
    messages.iter_mut().for_each(|message| message.decode(&decoder));
    write_lines(&dir.join("messages.jsonl"), &messages)?;
    Ok(judge(plan, &schedule, workload.as_ref(), observed, messages))
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
    schedule: &[Entry],
    workload: &dyn Workload,
    recorder: Recorder,
    warden: &Warden,
) -> Result<Observed> {
    let spec = Spec {
        program: plan.inputs.program.clone(),
        nodes: plan.scenario.nodes,
        seed: plan.inputs.seed,
        disk_delay_ms: plan.scenario.disk_delay_ms,
        log_dir: plan.run_dir.join("nodes"),
    };
    let decoder = Decoder::new(workload.descriptors())?;
    let mut retries = PORT_RETRIES;
    loop {
        let clock = RunClock::default();
        let (fabric, strikes) = Fabric::new(clock, decoder.clone(), recorder.clone());
        let mut cluster = ProcessCluster::new(&spec, fabric.clone(), warden.clone()).await?;
        let nodes = cluster.nodes().to_vec();
        let started = match cluster.start(&nodes) {
            Ok(()) => cluster.ready().await,
            Err(failure) => Err(failure),
        };
        let observed = match started {
            Err(failure) if retries > 0 && cluster.lost_its_port(&failure) => {
                retries -= 1;
                None
            }
            Err(failure) => Some(Observed { failure: Some(failure), ..Observed::default() }),
            Ok(()) => {
                let clients = clients(plan, &cluster, &fabric);
                Some(watch(plan, schedule, workload, clients, &fabric, strikes, &mut cluster).await)
            }
        };
        cluster.kill(&nodes).await;
        if let Some(observed) = observed {
            return Ok(observed);
        }
    }
}

/// What the clients of a run are made from, all writing to one history.
fn clients(plan: &Plan, cluster: &ProcessCluster, fabric: &Fabric) -> Vec<Client> {
    let history = History::new(fabric.clock().clone());
    let client = |number: u32| Client {
        number,
        channels: cluster
            .nodes()
            .iter()
            .map(|node| (node.clone(), cluster.client(&format!("c{number}"), node)))
            .collect(),
        history: history.clone(),
        clock: fabric.clock().clone(),
        seed: plan.inputs.seed << 16 | u64::from(number),
    };
    (1..=plan.scenario.clients).map(client).collect()
}

/// Lets the clients loose and the storm pass over the cluster: calm, storm, calm.
async fn watch(
    plan: &Plan,
    schedule: &[Entry],
    workload: &dyn Workload,
    clients: Vec<Client>,
    fabric: &Fabric,
    mut strikes: UnboundedReceiver<Strike>,
    cluster: &mut ProcessCluster,
) -> Observed {
    let clock = fabric.clock().clone();
    let history = clients.first().expect("a scenario has clients").history.clone();
    let mut gauge = Gauge::start(clock.clone());
    let [storm_us, calm_us] = plan.scenario.fault_window_ms().map(|at_ms| at_ms * 1000);
    let mut healed_us = calm_us;
    clock.start();
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(workload.client(client));
    }
    let mut driver = Driver::new(cluster, fabric, &mut strikes, |cluster| {
        gauge.note_waits(clock.now_us(), cluster.waited());
    });
    let weather = async {
        driver.calm(storm_us).await?;
        driver.storm(schedule, calm_us).await?;
        healed_us = clock.now_us();
        driver.calm(healed_us + plan.scenario.calm_ms[1] * 1000).await
    };
    let failure = weather.await.err();
    let struck = driver.into_struck();
    let end_us = clock.now_us();
    running.shutdown().await;
    let (history, lateness) = (history.operations(), gauge.finish());
    Observed { failure, struck, history, lateness, healed_us, end_us }
}

fn judge(
    plan: &Plan,
    schedule: &[Entry],
    workload: &dyn Workload,
    observed: Observed,
    messages: Vec<Message>,
) -> Judged {
    let Observed { failure, struck, history, lateness, healed_us, end_us } = observed;
    let scenario = &plan.scenario;
    let bounds_us = scenario.bounds.iter().map(|(name, ms)| (name.clone(), ms * 1000)).collect();
    let weather = Weather::new(&struck, &scenario.node_names());
    let killed = struck.iter().filter(|struck| struck.fault.kind() == Kind::Kill);
    let restarts_us = killed.map(|struck| struck.until_us).collect();
    let evidence = Evidence { history, messages, weather, restarts_us, end_us };
    let (findings, mut lates) = workload.judge(&evidence, &scenario.checks, &bounds_us);
    // A run that a fallen node ended early has no calm, or not all of it.
    let calms = [(0, scenario.fault_window_ms()[0] * 1000), (healed_us, end_us)];
    let calms: Vec<_> =
        calms.into_iter().filter(|(from_us, until_us)| from_us < until_us).collect();
    lates.extend(without_progress(&workload.progress_us(&evidence.history), &calms));
    let bites = efficacy::judge(schedule, &struck, &evidence.messages, &evidence.history);
    let lateness_us = lateness.worst_tick_us();
    let unanswered = unanswered(&evidence.history, &calms);
    let grounds = Grounds { failure, findings, lates, unanswered, bites: bites.clone(), lateness };
    Judged { reason: verdict::judge(grounds), struck, bites, lateness_us }
}

/// Some progress is due in each calm; the machine may be late by a part of it.
fn without_progress(progress_us: &[u64], calms: &[(u64, u64)]) -> Option<Late> {
    let idle = |(from_us, until_us): &&(u64, u64)| {
        !progress_us.iter().any(|at_us| from_us <= at_us && at_us <= until_us)
    };
    let what = "no client got what it asked for. Some should have.";
    calms.iter().find(idle).map(|calm| late_in(*calm, what))
}

/// Some node should answer some call in calm, whatever it says: the last calm, if none did in any.
fn unanswered(history: &[Operation], calms: &[(u64, u64)]) -> Option<Late> {
    let in_calm = |at_us: u64| {
        calms.iter().any(|(from_us, until_us)| (*from_us..=*until_us).contains(&at_us))
    };
    let tries = history.iter().flat_map(|operation| &operation.tries);
    let mut in_calm = tries.filter(|attempt| in_calm(attempt.return_us));
    if in_calm.any(|attempt| !attempt.is_unanswered()) {
        return None;
    }
    calms.last().map(|calm| late_in(*calm, "no node answered a single call."))
}

fn late_in((since_us, at_us): (u64, u64), what: &str) -> Late {
    let (from, until) = (seconds(since_us), seconds(at_us));
    let sentence = format!("From {from} to {until} all was calm, and {what}");
    let took_us = at_us - since_us;
    let finding = Finding { sentence, since_us, at_us, clients: Vec::new() };
    Late { finding, took_us, bound_us: took_us / 2 }
}

/// Writes `value` as indented JSON.
///
/// # Errors
/// When the disk refuses.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what [`write_json`] has written.
///
/// # Errors
/// Names the file that cannot be read, and the line that is not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn write_lines<T: Serialize>(path: &Path, items: &[T]) -> Result<()> {
    let lines: Result<Vec<_>, _> = items.iter().map(serde_json::to_string).collect();
    let text = lines?.into_iter().map(|line| line + "\n").collect::<String>();
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
