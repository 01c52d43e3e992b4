//! `lab run`: starts a lab's nodes in the foreground, to be tried by hand.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{Code, begin, program_of};
use crate::{
    build::Kind,
    cluster::{
        Cluster,
        process::{ProcessCluster, Spec},
    },
    fabric::{Fabric, RunClock, record::Recorder},
    grade::new_runs_dir,
    lab::MAX_NODES,
    output,
    report::terminal::wrapped,
    verdict::Verdict,
    workspace::shown,
};

/// What is to be started.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    code: Code,
    /// How many nodes
    #[arg(
        long,
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=MAX_NODES as i64)
    )]
    nodes: u8,
}

/// How often the nodes are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// Starts the nodes, prints where they listen, and stays until Ctrl-C or until one falls.
///
/// # Errors
/// When the lab does not build, or a node does not start or falls.
pub fn run(args: &Args) -> Result<u8> {
    let (workspace, lab, variant) = args.code.find()?;
    let warden = begin(&workspace, Kind::Node)?;
    let Some(program) = program_of(&workspace, &lab, &variant, &warden)? else {
        return Ok(Verdict::Broken.exit_code());
    };
    let dir = new_runs_dir(&workspace.runs_dir(), &format!("{}-run", lab.name))?;
    let scenario = lab.milestones.iter().flat_map(|milestone| &milestone.scenario).next();
    let workload = scenario.context("a lab has scenarios")?.load_workload()?;
    let (recorder, _writer) = Recorder::start(&dir.join("messages.jsonl"))?;
    let spec = Spec {
        program: program.path,
        nodes: args.nodes.into(),
        seed: 1,
        disk_delay_ms: [0, 0],
        log_dir: dir.join("nodes"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = RunClock::default();
        let decoder = workload.decoder();
        let (fabric, _strikes) = Fabric::new(clock.clone(), decoder, recorder);
        let mut cluster = ProcessCluster::new(&spec, fabric, warden).await?;
        let nodes = cluster.nodes().to_vec();
        cluster.start(&nodes)?;
        cluster.ready().await?;
        clock.start();
        for node in &nodes {
            output::print(format_args!("{node}  {}", cluster.address(node)));
        }
        let what = "Each serves the lab, grpc.health.v1 and reflection. Ctrl-C ends them. Logs and \
                    messages between nodes are in";
        output::print(format_args!("{}\n{}", wrapped(what), shown(&dir)));
        loop {
            cluster.fallen().map_or(Ok(()), Err)?;
            sleep(WATCH).await;
        }
    })
}
