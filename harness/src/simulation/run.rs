//! One simulated run, from the plan to the report.

use std::path::Path;

use anyhow::Result;
use tokio::runtime::RngSeed;

use super::{Plan, Report, runner};
use crate::{
    cluster::{
        Cluster,
        simulated::{Lab, SimulatedCluster, Spec, host},
    },
    fabric::{
        Fabric, RunClock,
        decode::Decoder,
        fault::Struck,
        record::{Message, Recorder},
    },
    files::write_lines,
    grade::{
        judge::judge,
        lateness::Lateness,
        watch::{Observed, Trial},
    },
    history::Operation,
    report::story,
    workload::script::Script,
};

/// Runs `plan`. It needs a thread that is repeatable from the plan's seed.
///
/// # Errors
/// When the plan makes no sense, or the disk refuses what is to be kept.
pub fn run(plan: &Plan, lab: &Lab, keep: Option<&Path>) -> Result<Report> {
    let workload = plan.scenario.load_workload()?;
    let trial = Trial {
        scenario: &plan.scenario,
        workload: workload.as_ref(),
        seed: plan.seed,
        schedule: &plan.schedule,
        script: plan.turns.clone().map_or_else(Script::default, Script::fixed),
    };
    let decoder = Decoder::new(workload.descriptors())?;
    let recorder = Recorder::in_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
        .on_task_spawn(host::note_spawn)
        .build()?;
    let observed = runtime.block_on(observe(plan, &trial, lab, &decoder, &recorder));
    // Messages still under way are recorded when their tasks are dropped.
    drop(runtime);
    let mut messages = recorder.take();
    // They are dropped in no order.
    messages.sort_by_key(|message| (message.id, message.copy));
    let hash = hash(&messages, &observed.history, &observed.struck)?;
    if let Some(dir) = keep {
        messages.iter_mut().for_each(|message| message.decode(&decoder));
        write_lines(&dir.join("history.jsonl"), &observed.history)?;
        write_lines(&dir.join("faults.jsonl"), &observed.struck)?;
        write_lines(&dir.join("messages.jsonl"), &messages)?;
    }
    let turns = observed.turns.clone();
    let judged = judge(&trial, observed, messages, Lateness::default(), false);
    Ok(Report {
        verdict: judged.reason.verdict,
        story: story::tell(&judged.reason, &judged.struck),
        check: judged.reason.check,
        hash,
        operations: judged.evidence.history.len(),
        turns,
        struck: judged.struck,
    })
}

async fn observe(
    plan: &Plan,
    trial: &Trial<'_>,
    lab: &Lab,
    decoder: &Decoder,
    recorder: &Recorder,
) -> Observed {
    let spec = Spec {
        lab: lab.clone(),
        nodes: plan.scenario.nodes,
        seed: plan.seed,
        disk_delay_ms: plan.scenario.disk_delay_ms,
        latency_ms: plan.latency_ms,
    };
    let clock = RunClock::default();
    let (fabric, strikes) = Fabric::new(clock.clone(), decoder.clone(), recorder.clone());
    let mut cluster = SimulatedCluster::new(spec, fabric.clone());
    let nodes = cluster.nodes().to_vec();
    let started = match cluster.start(&nodes) {
        Ok(()) => cluster.ready().await,
        Err(failure) => Err(failure),
    };
    let observed = match started {
        Err(failure) => Observed { failure: Some(failure), ..Observed::default() },
        Ok(()) => {
            let pulse = |_: &mut SimulatedCluster| runner::pulse(clock.now_us());
            trial.watch(&mut cluster, &fabric, strikes, pulse).await
        }
    };
    cluster.kill(&nodes).await;
    observed
}

/// A hash of everything that was carried, seen and broken, and of when.
fn hash(messages: &[Message], history: &[Operation], struck: &[Struck]) -> Result<String> {
    let mut bytes = Vec::with_capacity(messages.len() * 256);
    for message in messages {
        message.append_to(&mut bytes);
    }
    serde_json::to_writer(&mut bytes, history)?;
    serde_json::to_writer(&mut bytes, struck)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
