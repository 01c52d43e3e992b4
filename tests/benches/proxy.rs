//! What the fault proxy costs: calls through it beside direct calls, in turns, in one run.
//!
//! `cargo bench -p tests --bench proxy` measures. Without cargo's `--bench`, or with `--test`, a
//! few calls only show that it still works. Nothing is asserted about time: machines differ.
//!
//! With one call in flight, processors idle in between, and a virtual one may be slow to wake up:
//! each hop may pay for it, so the figures of two runs differ. On one processor nobody waits for
//! another one to wake up, which leaves what the proxy itself costs. Both are printed.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::fabric::{Connection, Fabric, Link, RunClock, decode::Decoder, record::Recorder};
use node::Channel;
use proto::lock::{
    Ballot, DESCRIPTORS, PrepareRequest, peer_client::PeerClient, peer_server::PeerServer,
};
use tests::voter::Voter;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
};
use tonic::transport::{Server, server::TcpIncoming};

/// As in the `lab` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many calls are in flight where calls per second are measured.
const IN_FLIGHT: usize = 64;
const MIB: f64 = 1024.0 * 1024.0;

/// How much is measured.
struct Effort {
    latency_blocks: usize,
    latency_block_calls: usize,
    rate_blocks: usize,
    rate_block_calls: usize,
    /// After how many recorded messages the resident memory is read.
    memory_samples: &'static [usize],
}

const MEASURE: Effort = Effort {
    latency_blocks: 60,
    latency_block_calls: 1000,
    rate_blocks: 11,
    rate_block_calls: 40_000,
    memory_samples: &[0, 100_000, 250_000, 500_000, 750_000, 1_000_000],
};

const SMOKE: Effort = Effort {
    latency_blocks: 2,
    latency_block_calls: 10,
    rate_blocks: 2,
    rate_block_calls: 200,
    memory_samples: &[0, 200],
};

/// One figure of each of the two ways.
struct Pair<T> {
    direct: T,
    proxied: T,
}

impl<T> Pair<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Pair<U> {
        Pair { direct: change(self.direct), proxied: change(self.proxied) }
    }
}

type Client = PeerClient<Channel>;

fn main() -> Result<()> {
    let asked_for = |flag: &str| env::args().any(|argument| argument == flag);
    if asked_for("--list") {
        return Ok(());
    }
    let measuring = asked_for("--bench") && !asked_for("--test");
    let effort = if measuring { MEASURE } else { SMOKE };

    // Under the target folder: what an interrupted benchmark leaves behind, `cargo clean` finds.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .context("cannot make a folder for the record")?;
    let record = folder.path().join("messages.jsonl");
    let (recorder, writer) = Recorder::start(&record)?;
    let server = ServiceThread::start("server", |listener| async move {
        let served = Server::builder()
            .add_service(PeerServer::new(Voter))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        served.await.expect("the server serves until it is dropped");
    })?;
    let clock = RunClock::default();
    let (fabric, _strikes) = Fabric::new(clock.clone(), Decoder::new(DESCRIPTORS)?, recorder);
    let link = Link::between_nodes(fabric, "n1", "n2", Connection::to(&server.address.to_string()));
    let proxy = ServiceThread::start("proxy", |listener| link.serve(listener))?;
    clock.start();

    let runtime = current_thread_runtime()?;
    let clients = runtime.block_on(async {
        anyhow::Ok(Pair { direct: client(server.address)?, proxied: client(proxy.address)? })
    })?;
    // Asked before any thread is pinned: afterwards it would be one.
    let processors = thread::available_parallelism()?.get();
    println!("The fault proxy beside a direct call: one proxy thread, recording on");
    runtime.block_on(warm_up(&clients, &effort))?;
    print_rate(runtime.block_on(rates(&clients, &effort))?);
    print_latency("any processor", runtime.block_on(latencies(&clients, &effort))?);
    if run_on_processors(0..1) {
        print_latency("one processor", runtime.block_on(latencies(&clients, &effort))?);
        run_on_processors(0..processors);
    }
    print_memory(&runtime.block_on(memory(&clients.proxied, effort.memory_samples))?);

    drop((clients, runtime));
    proxy.stop();
    server.stop();
    writer.finish()?;
    print_record(&record, effort.proxied_calls())
}

impl Effort {
    fn proxied_calls(&self) -> usize {
        let latencies = if PINS_THREADS { 2 } else { 1 };
        let latency = latencies * self.latency_blocks * self.latency_block_calls;
        let rate = self.rate_blocks * self.rate_block_calls;
        let warm_up = self.latency_block_calls + self.rate_block_calls;
        warm_up + latency + rate + self.memory_samples.last().expect("there are samples")
    }
}

/// Something that listens on a port of its own, on exactly one thread of its own.
struct ServiceThread {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ServiceThread {
    fn start<F>(name: &str, serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = ()>,
    {
        let runtime = current_thread_runtime()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("a service thread does not panic");
    }
}

fn current_thread_runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A client as the nodes have it.
fn client(address: SocketAddr) -> Result<Client> {
    let channel = Channel::connect(&address.to_string()).map_err(anyhow::Error::from_boxed)?;
    Ok(PeerClient::new(channel))
}

async fn call(client: &mut Client, round: usize) -> Result<()> {
    let ballot = Ballot { round: u64::try_from(round)?, node: "n1".to_owned() };
    let request = PrepareRequest { name: "lock-1".to_owned(), ballot: Some(ballot.clone()) };
    let reply = client.prepare(request).await?.into_inner();
    ensure!(reply.promised == Some(ballot), "the reply belongs to another call");
    Ok(())
}

async fn warm_up(clients: &Pair<Client>, effort: &Effort) -> Result<()> {
    for client in [&clients.direct, &clients.proxied] {
        call_in_turn(client, effort.latency_block_calls).await?;
        call_at_once(client, effort.rate_block_calls).await?;
    }
    Ok(())
}

/// How long each of `calls` calls takes, one at a time.
async fn call_in_turn(client: &Client, calls: usize) -> Result<Vec<Duration>> {
    let mut client = client.clone();
    let mut took = Vec::with_capacity(calls);
    for round in 0..calls {
        let started = Instant::now();
        call(&mut client, round).await?;
        took.push(started.elapsed());
    }
    Ok(took)
}

/// How long `calls` calls take, with [`IN_FLIGHT`] of them under way at any time.
async fn call_at_once(client: &Client, calls: usize) -> Result<Duration> {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..IN_FLIGHT {
        let mut client = client.clone();
        callers.spawn(async move {
            for round in (number..calls).step_by(IN_FLIGHT) {
                call(&mut client, round).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(finished) = callers.join_next().await {
        finished??;
    }
    Ok(started.elapsed())
}

/// The time of every single call. Short blocks take turns, so that whatever else the machine does
/// hits both ways alike.
async fn latencies(clients: &Pair<Client>, effort: &Effort) -> Result<Pair<Vec<Duration>>> {
    let mut took = Pair { direct: Vec::new(), proxied: Vec::new() };
    for _ in 0..effort.latency_blocks {
        took.direct.extend(call_in_turn(&clients.direct, effort.latency_block_calls).await?);
        took.proxied.extend(call_in_turn(&clients.proxied, effort.latency_block_calls).await?);
    }
    Ok(took)
}

/// The calls per second of every block, the blocks taking turns.
async fn rates(clients: &Pair<Client>, effort: &Effort) -> Result<Pair<Vec<f64>>> {
    let calls = effort.rate_block_calls;
    let mut rates = Pair { direct: Vec::new(), proxied: Vec::new() };
    for _ in 0..effort.rate_blocks {
        let took = call_at_once(&clients.direct, calls).await?;
        rates.direct.push(calls as f64 / took.as_secs_f64());
        let took = call_at_once(&clients.proxied, calls).await?;
        rates.proxied.push(calls as f64 / took.as_secs_f64());
    }
    Ok(rates)
}

/// The resident memory of this process, in bytes, after each of `samples` recorded messages.
async fn memory(client: &Client, samples: &[usize]) -> Result<Vec<(usize, f64)>> {
    let mut sampled = Vec::new();
    let mut recorded = 0;
    for &sample in samples {
        call_at_once(client, sample - recorded).await?;
        recorded = sample;
        sampled.push((recorded, resident_bytes()?));
    }
    Ok(sampled)
}

fn resident_bytes() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmRSS is missing")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// The value that `percent` of all values are below.
fn percentile<T: PartialOrd + Copy>(values: &mut [T], percent: usize) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).expect("no value is NaN"));
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Whether [`run_on_processors`] can do what it says here.
const PINS_THREADS: bool = cfg!(target_os = "linux");

/// Lets every thread of this process run on these processors only; whether that worked.
#[cfg(target_os = "linux")]
fn run_on_processors(processors: std::ops::Range<usize>) -> bool {
    use nix::{sched, unistd::Pid};
    let mut set = sched::CpuSet::new();
    let known = processors.into_iter().all(|processor| set.set(processor).is_ok());
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads = threads.filter_map(|task| task.file_name().to_str()?.parse().ok());
    let pin = |thread: i32| sched::sched_setaffinity(Pid::from_raw(thread), &set).is_ok();
    known && threads.all(pin)
}

#[cfg(not(target_os = "linux"))]
fn run_on_processors(_: std::ops::Range<usize>) -> bool {
    false
}

fn print_latency(place: &str, took: Pair<Vec<Duration>>) {
    println!(
        "\n1 call in flight, {place} (µs)\n\
         {:15}direct   proxied     added   ratio   target",
        ""
    );
    let mut took = took.map(|took| took.iter().map(|took| took.as_secs_f64() * 1e6).collect());
    for (percent, target) in [(50, "added <= 70 µs"), (99, "none")] {
        let Pair { direct, proxied } = percentiles(&mut took, percent);
        let (added, ratio) = (proxied - direct, proxied / direct);
        println!(
            "  p{percent}      {direct:10.1} {proxied:9.1} {added:9.1}   {ratio:5.2}   {target}"
        );
    }
}

fn percentiles(values: &mut Pair<Vec<f64>>, percent: usize) -> Pair<f64> {
    Pair {
        direct: percentile(&mut values.direct, percent),
        proxied: percentile(&mut values.proxied, percent),
    }
}

fn print_rate(mut rates: Pair<Vec<f64>>) {
    println!("\n{IN_FLIGHT} calls in flight   direct   proxied   ratio   target");
    let Pair { direct, proxied } = percentiles(&mut rates, 50);
    let ratio = proxied / direct;
    println!("  calls/s         {direct:9.0} {proxied:9.0}   {ratio:5.2}   proxied >= 35000");
}

fn print_memory(samples: &[(usize, f64)]) {
    println!("\nmessages recorded   resident MiB   target");
    for (recorded, bytes) in samples {
        println!("  {recorded:>15} {:14.1}   flat", bytes / MIB);
    }
}

fn print_record(record: &std::path::Path, calls: usize) -> Result<()> {
    let bytes = fs::metadata(record)?.len();
    let lines = BufReader::new(File::open(record)?).lines().count();
    ensure!(lines == calls, "{calls} calls went through the proxy, and {lines} were recorded");
    println!("\n{lines} messages in the record, {} bytes each", bytes / u64::try_from(lines)?);
    Ok(())
}
