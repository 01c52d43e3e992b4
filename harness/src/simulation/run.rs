//! One simulated run, from the plan to the report.

use anyhow::Result;
use tokio::runtime::RngSeed;

use super::{Report, Request, logs::Logs, pulse};
use crate::{
    cluster::{
        Cluster,
        simulated::{Lab, SimulatedCluster, Spec, host},
    },
    fabric::{
        Fabric, RunClock,
        decode::Decoder,
        fault::Struck,
        record::{self, Message, Recorder},
    },
    files::write_lines,
    grade::{
        judge::judge,
        lateness::Lateness,
        story,
        watch::{Observed, Trial},
    },
    history::Operation,
    workload::script::Script,
};

/// How many bytes are hashed at a time: long pieces are hashed faster than short ones.
const HASHED_AT_ONCE: usize = 64 * 1024;

/// Runs what is asked for. It needs a thread that is repeatable from the plan's seed.
///
/// # Errors
/// When the plan makes no sense, or the disk refuses what is to be kept.
pub fn run(request: &Request, lab: &Lab) -> Result<Report> {
    let Request { plan, keep, scratch, .. } = request;
    let workload = plan.scenario.load_workload()?;
    let trial = Trial {
        scenario: &plan.scenario,
        workload: workload.as_ref(),
        seed: plan.seed,
        schedule: &plan.schedule,
        script: plan.turns.clone().map_or_else(Script::default, Script::fixed),
    };
    let decoder = workload.decoder();
    let recorder = Recorder::in_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
        .on_task_spawn(|task| host::note_spawn(task.spawned_at()))
        .build()?;
    let cluster = Spec {
        lab: lab.clone(),
        nodes: plan.scenario.nodes,
        seed: plan.seed,
        disk: plan.disk,
        scratch: scratch.clone(),
        disk_delay_ms: plan.scenario.disk_delay_ms,
        latency_ms: plan.latency_ms,
    };
    let (clock, logs) = (RunClock::default(), Logs::default());
    let logging = keep.as_ref().map(|_| logs.collect(clock.clone(), scratch)).transpose()?;
    let observed = runtime.block_on(observe(&trial, cluster, &decoder, &recorder, clock));
    drop(logging);
    // Messages still under way are recorded when their tasks are dropped.
    drop(runtime);
    pulse::over();
    let mut messages = recorder.take();
    // They are dropped in no order. A message is large to move, so it is moved once.
    messages.sort_by_cached_key(|message| (message.id, message.copy));
    let hash = hash(&messages, &observed.history, &observed.struck)?;
    if let Some(dir) = keep {
        write_lines(&dir.join("history.jsonl"), &observed.history)?;
        write_lines(&dir.join("faults.jsonl"), &observed.struck)?;
        record::write_decoded(&dir.join("messages.jsonl"), &mut messages, &decoder)?;
        logs.write(&dir.join("nodes"))?;
    }
    let turns = observed.turns.clone();
    let judged = judge(&trial, observed, messages, Lateness::default());
    let mut report = Report {
        verdict: judged.reason.verdict,
        story: story::tell(&judged.reason, &judged.struck),
        check: judged.reason.check,
        hash,
        operations: judged.evidence.history.len(),
        turns,
        struck: judged.struck,
    };
    if !report.failed() {
        // Only a failure is made small by them, and they are most of what a runner has to write.
        report.turns.clear();
    }
    Ok(report)
}

async fn observe(
    trial: &Trial<'_>,
    spec: Spec,
    decoder: &Decoder,
    recorder: &Recorder,
    clock: RunClock,
) -> Observed {
    let (fabric, strikes) = Fabric::new(clock.clone(), decoder.clone(), recorder.clone());
    let mut cluster = SimulatedCluster::new(spec, fabric.clone());
    let nodes = cluster.nodes().to_vec();
    pulse::beat(0);
    let observed = match trial.start(&mut cluster).await {
        Err(failure) => Observed { failure: Some(failure), ..Observed::default() },
        Ok(()) => {
            let beat = |_: &mut SimulatedCluster| pulse::beat(clock.now_us());
            trial.watch(&mut cluster, &fabric, strikes, beat).await
        }
    };
    cluster.kill(&nodes).await;
    observed
}

/// A hash of everything that was carried, seen and broken, and of when.
fn hash(messages: &[Message], history: &[Operation], struck: &[Struck]) -> Result<String> {
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), Vec::with_capacity(2 * HASHED_AT_ONCE));
    for message in messages {
        message.append_to(&mut bytes);
        if bytes.len() >= HASHED_AT_ONCE {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    serde_json::to_writer(&mut bytes, history)?;
    serde_json::to_writer(&mut bytes, struck)?;
    hasher.update(&bytes);
    Ok(hasher.finalize().to_hex().to_string())
}
