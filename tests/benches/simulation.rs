//! How many schedules a simulation runs in a second, on one core and on two, and what it keeps.
//!
//! `cargo bench -p tests --bench simulation`: the reference of the lock lab, in the profile that
//! `explore` uses; 3 nodes, about 200 operations in 10 virtual seconds, 3 faults on nodes and links
//! and a fault on about 6 of a hundred messages.
//!
//! Beside it, as the most that any engine could reach: the same number of calls by the generated
//! client and server alone, with no network, clock, disk, record, fault or check in between.

use std::{env, fs, thread, time::Instant};

use harness::{
    build::{self, Kind, Program},
    cluster::{
        simulated::store::DiskKind,
        warden::{self, Warden},
    },
    explore::runner::Runner,
    fabric::fault::{Aim, Entry, Fault, Mode, Phase, Shape, Trigger},
    lab::{Lab, Scenario},
    simulation::Plan,
    variant::Variant,
    verdict::Verdict,
    workspace::Workspace,
};
use node::{BoxError, Channel};
use proto::lock::{Ballot, PrepareRequest, peer_client::PeerClient, peer_server::PeerServer};
use tests::voter::Voter;
use tonic::body::Body;
use tower::Service;

/// As in the program that runs simulations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCENARIO: &str = r#"
name = "bench"
workload = "lock"
nodes = 3
clients = 4
duration_ms = 10_000
calm_ms = [500, 2000]
checks = ["one_holder", "tokens_grow", "one_grant_each", "renewals_kept", "majority_only"]
[options]
locks = 3
lease_ms = 600
hold_ms = [20, 100]
think_ms = [200, 500]
"#;
/// The methods that faults on messages strike, and one in how many messages of each.
const METHODS: [&str; 4] = ["Acquire", "Prepare", "Accept", "Release"];
const ONE_IN: u32 = 16;
/// How many messages of one method a run has, at least.
const MESSAGES: u32 = 400;
/// How many schedules are timed, and after how many memory is looked at.
const TIMED: u64 = 1000;
const LOOKS: [u64; 3] = [100, 1000, 10_000];
/// How many calls of the generated code alone are timed.
const BARE_CALLS: u32 = 300_000;

fn main() {
    // The warden is this very program.
    if env::args().any(|argument| argument == warden::VERB) {
        return warden::run();
    }
    env::set_current_dir(tests::root()).unwrap();
    let workspace = Workspace::find().unwrap();
    let lab = Lab::load(&workspace, "lock").unwrap();
    let warden = Warden::start().unwrap();
    let built = build::build(&workspace, &lab, &Variant::Reference, Kind::Simulation, &warden);
    let Ok(program) = built else { panic!("the reference does not build") };
    let one = rate(&program, &warden, 1);
    println!("one job:  {one:.0} schedules a second");
    let two = rate(&program, &warden, 2);
    println!("two jobs: {two:.0} schedules a second, {:.2} times as many", two / one);
    let mut runner = Runner::new(&program, &warden);
    let messages = messages(&mut runner);
    let bare = bare_calls() / f64::from(messages);
    println!("as many calls of the generated code alone ({messages}): {bare:.0} times a second");
    let mut ran = 0;
    for look in LOOKS {
        while ran < look {
            run(&mut runner, ran);
            ran += 1;
        }
        let pid = runner.pid().unwrap();
        println!("memory after {look} schedules: {:.1} MiB", resident_mib(pid));
    }
}

/// How many messages a schedule has.
fn messages(runner: &mut Runner) -> u32 {
    let kept = tempfile::tempdir().unwrap();
    runner.run(&plan(0), Some(kept.path())).unwrap();
    let record = fs::read_to_string(kept.path().join("messages.jsonl")).unwrap();
    u32::try_from(record.lines().count()).unwrap()
}

/// Calls a second of a generated client that calls a generated server, and nothing else.
fn bare_calls() -> f64 {
    let server = PeerServer::new(Voter);
    let channel =
        Channel::over(tower::service_fn(move |request: tonic::codegen::http::Request<Body>| {
            let mut server = server.clone();
            async move { server.call(request).await.map_err(BoxError::from) }
        }));
    let mut client = PeerClient::new(channel);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let started = Instant::now();
    runtime.block_on(async {
        for round in 0..BARE_CALLS {
            let ballot = Ballot { round: round.into(), node: "n1".to_owned() };
            let request = PrepareRequest { name: "lock-1".to_owned(), ballot: Some(ballot) };
            client.prepare(request).await.unwrap();
        }
    });
    f64::from(BARE_CALLS) / started.elapsed().as_secs_f64()
}

/// Schedules a second with `jobs` runners side by side.
fn rate(program: &Program, warden: &Warden, jobs: u64) -> f64 {
    let mut runners: Vec<_> = (0..jobs).map(|_| Runner::new(program, warden)).collect();
    runners.iter_mut().for_each(|runner| run(runner, 0));
    let started = Instant::now();
    thread::scope(|scope| {
        for runner in &mut runners {
            scope.spawn(move || (0..TIMED).for_each(|seed| run(runner, seed)));
        }
    });
    f64::from(u32::try_from(TIMED * jobs).unwrap()) / started.elapsed().as_secs_f64()
}

fn run(runner: &mut Runner, seed: u64) {
    let report = runner.run(&plan(seed), None).unwrap();
    assert_eq!(report.verdict, Verdict::Passed, "seed {seed}: {}", report.story);
}

fn plan(seed: u64) -> Plan {
    let scenario: Scenario = toml::from_str(SCENARIO).unwrap();
    let node = |offset: u64| vec![format!("n{}", (seed + offset) % 3 + 1)];
    let timed = |at_ms, for_ms, fault| Entry { when: Trigger::AtMs(at_ms), fault, for_ms, spec: 0 };
    let cut = Fault::Cut { nodes: node(1), shape: Shape::Both, mode: Mode::Silent };
    let mut schedule = vec![
        timed(1500, 800, Fault::Kill { nodes: node(0) }),
        timed(3500, 1000, cut),
        timed(6000, 500, Fault::Pause { nodes: node(2) }),
    ];
    let faults = [
        Fault::DropRequest,
        Fault::DropReply,
        Fault::Duplicate { after_ms: 20, until: None },
        Fault::Delay { ms: 40 },
    ];
    for (method, nth) in METHODS.iter().flat_map(|it| (1..MESSAGES / ONE_IN).map(move |n| (it, n)))
    {
        let fault = faults[nth as usize % faults.len()].clone();
        let phase = if fault == Fault::DropReply { Phase::Reply } else { Phase::Request };
        let aim = Aim { phase, ..Aim::at((*method).to_owned()) };
        let when = Trigger::Message { aim, nth: nth * ONE_IN, after: None };
        schedule.push(Entry { when, fault, for_ms: 0, spec: 0 });
    }
    let disk = DiskKind::Memory;
    Plan { scenario, seed, latency_ms: 2, disk, schedule, turns: None }
}

fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
    kib / 1024.0
}
