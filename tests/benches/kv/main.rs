//! The key-value lab's reference beside etcd: three processes each on this machine, the same
//! closed loop of clients, every write on the disks of a majority (fsync) before it is
//! acknowledged.
//!
//! `cargo bench -p tests --bench kv` needs etcd (Debian: etcd-server). The two are measured in
//! turns, so that both meet the same machine; what is printed are medians of the turns.

mod etcd;
mod faultline;

use std::{
    env, fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harness::cluster::warden::{self, Warden};
use tokio::{runtime::Builder, task::JoinSet};
use tonic::transport::Channel;

use self::{etcd::Etcd, faultline::Faultline};

/// How often each store is measured, and for how long each time.
const TURNS: usize = 3;
const LASTS: Duration = Duration::from_secs(4);
const NODES: usize = 3;
const KEYS: u64 = 1000;
/// As long as a value is.
const VALUE: &str = "0123456789012345678901234567890123456789012345678901234567890123";

/// A store, and how its clients speak.
trait Store: Clone + Send + 'static {
    const NAME: &'static str;

    /// Starts the node `number` (from 0) with its files in `folder`: the address for clients is
    /// `127.0.0.1` and the first port, that for its peers has the second one.
    fn start(&self, number: usize, ports: &[[u16; 2]], folder: &Path) -> Command;

    /// Whether the node behind the channel leads.
    fn leads(channel: Channel) -> impl Future<Output = bool> + Send;

    fn put(channel: Channel, client: u64, seq: u64) -> impl Future<Output = bool> + Send;

    fn get(channel: Channel, key: u64) -> impl Future<Output = bool> + Send;
}

/// What one turn at one load came to.
struct Measured {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

fn main() {
    // The warden of the build is this very program.
    if env::args().any(|argument| argument == warden::VERB) {
        return warden::run();
    }
    let warden = Warden::start().unwrap();
    let faultline = Faultline::build(&warden);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut turns: Vec<[Vec<Measured>; 2]> = Vec::new();
    for _ in 0..TURNS {
        turns.push([
            runtime.block_on(turn(&faultline, &warden)),
            runtime.block_on(turn(&Etcd, &warden)),
        ]);
    }
    println!(
        "{:<22} {:>10} {:>10} {:>7}  p50 ms, p99 ms",
        "",
        Faultline::NAME,
        Etcd::NAME,
        "ratio"
    );
    for (place, load) in LOADS.iter().enumerate() {
        let of = |store: usize, figure: fn(&Measured) -> f64| {
            median(turns.iter().map(|turn| figure(&turn[store][place])).collect())
        };
        let rate = |store| of(store, |it| it.per_second);
        let ms = |store| {
            let p50 = of(store, |it| it.p50.as_secs_f64() * 1e3);
            format!("{p50:.2}, {:.2}", of(store, |it| it.p99.as_secs_f64() * 1e3))
        };
        println!(
            "{:<22} {:>8.0}/s {:>8.0}/s {:>7.2}  {} beside {}",
            format!("{} client(s), {}", load.0, if load.1 { "writes" } else { "reads" }),
            rate(0),
            rate(1),
            rate(0) / rate(1),
            ms(0),
            ms(1),
        );
    }
}

/// How many clients, and whether they write.
const LOADS: [(u64, bool); 4] = [(1, true), (1, false), (64, true), (64, false)];

/// Starts a store, puts every load on it, and stops it.
async fn turn<S: Store>(store: &S, warden: &Warden) -> Vec<Measured> {
    let folder = tests::root().join("target/bench").join(S::NAME);
    // There need not be one.
    let _ = fs::remove_dir_all(&folder);
    let ports: Vec<_> = (0..NODES).map(|_| [free_port(), free_port()]).collect();
    let mut nodes = Nodes(Vec::new());
    for number in 0..NODES {
        let home = folder.join(number.to_string());
        fs::create_dir_all(&home).unwrap();
        let mut command = store.start(number, &ports, &home);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let node = command.spawn().unwrap_or_else(|why| panic!("{} runs: {why}", S::NAME));
        // It ends whoever is left if this program is killed.
        warden.watch_group(node.id());
        nodes.0.push(node);
    }
    let leader = leader::<S>(&ports).await;
    let mut measured = Vec::new();
    for (number, (clients, writes)) in (0..).zip(LOADS) {
        measured.push(load::<S>(leader, number, clients, writes).await);
    }
    measured
}

/// Processes that end with this one.
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            // It may have ended already.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

async fn leader<S: Store>(ports: &[[u16; 2]]) -> u16 {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        for [port, _] in ports {
            if let Ok(channel) = connect(*port).await
                && S::leads(channel).await
            {
                return *port;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} has no leader", S::NAME);
}

async fn connect(port: u16) -> Result<Channel, tonic::transport::Error> {
    let address = format!("http://127.0.0.1:{port}");
    Channel::from_shared(address).unwrap().tcp_nodelay(true).connect().await
}

/// Each client has a connection of its own and one operation under way.
async fn load<S: Store>(leader: u16, number: u64, clients: u64, writes: bool) -> Measured {
    let mut running = JoinSet::new();
    for client in 0..clients {
        let channel = connect(leader).await.unwrap();
        running.spawn(async move {
            let (mut took, started) = (Vec::new(), Instant::now());
            while started.elapsed() < LASTS {
                let (began, count) = (Instant::now(), took.len() as u64);
                let done = match writes {
                    true => S::put(channel.clone(), number * 1000 + client, count + 1).await,
                    false => S::get(channel.clone(), (client * 17 + count) % KEYS).await,
                };
                assert!(done, "{} answers", S::NAME);
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut took: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let per_second = took.len() as f64 / LASTS.as_secs_f64();
    Measured { per_second, p50: at(0.5), p99: at(0.99) }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
