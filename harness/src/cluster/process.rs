//! The process engine: every node a process of its own, killed with signals, logging to a file.
#![expect(unsafe_code, reason = "a child must be told to die with its parent before it starts")]

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    net::TcpListener as StdListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
#[cfg(target_os = "linux")]
use nix::sys::prctl;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use node::Channel;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::{sleep, timeout},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Cluster, NodeFailure, ports::PortBlock, warden::Warden};
use crate::fabric::{Fabric, Link};

/// How long a node may take from its start to being ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long one question after its health may take.
const HEALTH_DEADLINE: Duration = Duration::from_millis(500);
/// The pause between two questions after its health.
const HEALTH_PAUSE: Duration = Duration::from_millis(5);

/// What a cluster of processes is made from.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The node's program.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// `SEED` of every node.
    pub seed: u64,
    /// `DISK_DELAY_MS` of every node.
    pub disk_delay_ms: u64,
    /// The folder for their logs.
    pub log_dir: PathBuf,
}

/// The operating system's number of a thread.
pub type ThreadId = u32;
/// Stands for the harness's own thread: no process has this number.
const OWN_THREAD: ThreadId = 0;

/// Nodes that are processes of this machine.
pub struct ProcessCluster {
    names: Vec<String>,
    members: BTreeMap<String, Member>,
    fabric: Fabric,
    /// Links of clients, made at their first call.
    client_links: Mutex<BTreeMap<(String, String), std::sync::Arc<Link>>>,
    warden: Warden,
    _ports: PortBlock,
    _scratch: Scratch,
}

struct Member {
    name: String,
    program: PathBuf,
    address: String,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    starts: u32,
    process: Option<Child>,
}

/// The data directories of one run: on tmpfs where there is one, since kill -9 keeps the page cache
/// anyway and the noise of a disk's fsync would only blur what is measured.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(warden: &Warden) -> Result<Self> {
        let shm = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("faultline-").tempdir_in(shm);
        let folder = match folder {
            Ok(folder) => folder,
            Err(_) => builder.tempdir().context("cannot make a folder for the nodes' data")?,
        };
        warden.watch_folder(folder.path());
        Ok(Self(folder))
    }
}

impl ProcessCluster {
    /// Lays out the links of a cluster whose nodes do not run yet.
    ///
    /// # Errors
    /// When there are no ports or no folder: never the lab's fault.
    pub async fn new(spec: &Spec, fabric: Fabric, warden: Warden) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let scratch = Scratch::new(&warden)?;
        fs::create_dir_all(&spec.log_dir)
            .with_context(|| format!("cannot make {}", spec.log_dir.display()))?;
        let names: Vec<String> = (1..=spec.nodes).map(|number| format!("n{number}")).collect();
        let mut members = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            let mut peers = Vec::new();
            for (peer_index, peer) in names.iter().enumerate().filter(|(_, peer)| *peer != name) {
                let link =
                    Link::between_nodes(fabric.clone(), name, peer, &ports.address(peer_index));
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                peers.push(format!("{peer}={}", listener.local_addr()?));
                tokio::spawn(link.serve(listener));
            }
            let address = ports.address(index);
            let environment = vec![
                ("NODE_ID", name.clone()),
                ("LISTEN", address.clone()),
                ("PEERS", peers.join(",")),
                ("DATA_DIR", scratch.0.path().join(name).display().to_string()),
                ("SEED", spec.seed.to_string()),
                ("DISK_DELAY_MS", spec.disk_delay_ms.to_string()),
                ("RUST_LOG", "info".to_owned()),
                ("LOG_FORMAT", "human".to_owned()),
            ];
            let member = Member {
                name: name.clone(),
                program: spec.program.clone(),
                address,
                environment,
                log: spec.log_dir.join(format!("{name}.log")),
                starts: 0,
                process: None,
            };
            members.insert(name.clone(), member);
        }
        let client_links = Mutex::default();
        Ok(Self { names, members, fabric, client_links, warden, _ports: ports, _scratch: scratch })
    }

    /// Whether a node failed its first start because somebody else took its port in the meantime.
    pub fn lost_its_port(&self, failure: &NodeFailure) -> bool {
        let is_first = |member: &&Member| member.starts == 1 && member.process.is_none();
        let member = self.members.get(&failure.node).filter(is_first);
        member.is_some_and(|member| {
            let bound = StdListener::bind(&member.address);
            bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        })
    }

    /// How long each thread of every running node has waited for a processor so far, and this
    /// thread, on which the fabric and the clients live.
    pub fn waited(&self) -> Vec<(ThreadId, Duration)> {
        let pids = self.members.values().filter_map(|member| member.process.as_ref()?.id());
        let own = run_queue_wait(Path::new("/proc/thread-self")).map(|wait| (OWN_THREAD, wait));
        pids.flat_map(run_queue_waits).chain(own).collect()
    }
}

impl Cluster for ProcessCluster {
    fn nodes(&self) -> &[String] {
        &self.names
    }

    async fn kill(&mut self, nodes: &[String]) -> Vec<String> {
        let mut dying = Vec::new();
        for name in nodes {
            let member = self.members.get_mut(name).expect("schedules name nodes of the cluster");
            if let Some(process) = member.process.take() {
                process.id().into_iter().for_each(kill_group);
                dying.push((name.clone(), process));
            }
        }
        for (_, process) in &mut dying {
            let pid = process.id();
            let _ = process.wait().await;
            pid.into_iter().for_each(|pid| self.warden.forget_group(pid));
        }
        dying.into_iter().map(|(name, _)| name).collect()
    }

    fn start(&mut self, nodes: &[String]) -> Result<(), NodeFailure> {
        for name in nodes {
            let member = self.members.get_mut(name).expect("schedules name nodes of the cluster");
            if member.process.is_none() {
                let process = member.spawn().map_err(|error| {
                    member.failure(format!(
                        "cannot be started: {}: {error}",
                        member.program.display()
                    ))
                })?;
                process.id().into_iter().for_each(|pid| self.warden.watch_group(pid));
                member.process = Some(process);
            }
        }
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), NodeFailure> {
        let deadline = Instant::now() + READY_WITHIN;
        for member in self.members.values_mut().filter(|member| member.process.is_some()) {
            member.ready(deadline, &self.warden).await?;
        }
        Ok(())
    }

    fn fallen(&mut self) -> Option<NodeFailure> {
        let warden = &self.warden;
        self.members.values_mut().find_map(|member| member.fallen(warden))
    }

    fn client(&self, client: &str, node: &str) -> Channel {
        let mut links = self.client_links.lock().expect("no holder of this lock panics");
        let address = &self.members[node].address;
        let make = || Link::from_client(self.fabric.clone(), client, node, address);
        links.entry((client.to_owned(), node.to_owned())).or_insert_with(make).clone().channel()
    }
}

impl Drop for ProcessCluster {
    fn drop(&mut self) {
        for process in self.members.values_mut().filter_map(|member| member.process.take()) {
            process.id().into_iter().for_each(kill_group);
            // tokio reaps it: the child was made with `kill_on_drop`.
        }
    }
}

impl Member {
    fn spawn(&mut self) -> io::Result<Child> {
        self.starts += 1;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.env_clear();
        // What the programs of other languages need to find their runtimes.
        let inherited = ["PATH", "HOME"].map(|name| (name, std::env::var(name)));
        command.envs(inherited.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))));
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("START", self.starts.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec, only calls that are async-signal-safe. The signal follows
        // the thread that spawns, which lives as long as this cluster.
        unsafe {
            command.pre_exec(move || {
                #[cfg(target_os = "linux")]
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                // The harness may have died before the line above.
                match nix::unistd::getppid() == parent {
                    true => Ok(()),
                    false => Err(io::ErrorKind::BrokenPipe.into()),
                }
            });
        }
        command.spawn()
    }

    async fn ready(&mut self, deadline: Instant, warden: &Warden) -> Result<(), NodeFailure> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .expect("a port block gives addresses");
        let mut health = HealthClient::new(endpoint.connect_lazy());
        while Instant::now() < deadline {
            if let Some(failure) = self.fallen(warden) {
                return Err(failure);
            }
            let question = health.check(HealthCheckRequest::default());
            if let Ok(Ok(answer)) = timeout(HEALTH_DEADLINE, question).await
                && answer.into_inner().status() == ServingStatus::Serving
            {
                return Ok(());
            }
            sleep(HEALTH_PAUSE).await;
        }
        let log = self.log_tail();
        Err(self
            .failure(format!("was not ready {} s after its start{log}", READY_WITHIN.as_secs())))
    }

    fn fallen(&mut self, warden: &Warden) -> Option<NodeFailure> {
        let process = self.process.as_mut()?;
        let pid = process.id();
        let status = process.try_wait().ok()??;
        self.process = None;
        if let Some(pid) = pid {
            // What it has started is of no more use.
            kill_group(pid);
            warden.forget_group(pid);
        }
        let what = match self.panic() {
            Some(panic) => panic,
            None => format!("{} though nobody stopped it{}", describe(status), self.log_tail()),
        };
        Some(self.failure(what))
    }

    fn failure(&self, what: String) -> NodeFailure {
        NodeFailure { node: self.name.clone(), what }
    }

    /// The panic that the log ends with, if it does: `panicked at FILE:LINE:COLUMN: message`.
    fn panic(&self) -> Option<String> {
        let log = fs::read_to_string(&self.log).ok()?;
        let start = log.rfind("panicked at ")?;
        let mut lines = log[start..].lines();
        let place = lines.next()?.trim_end_matches(':');
        Some(format!("{place}: {}", lines.next().unwrap_or_default().trim()))
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        match log.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("; the last line of its log: {}", line.trim()),
            None => "; its log is empty".to_owned(),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

fn kill_group(pid: u32) {
    let group = i32::try_from(pid).expect("process numbers are small");
    // Gone already is as good.
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

/// The time that each thread of `pid` was ready to run and did not, from its `schedstat`.
fn run_queue_waits(pid: u32) -> Vec<(ThreadId, Duration)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let wait = |task: fs::DirEntry| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        Some((thread, run_queue_wait(&task.path())?))
    };
    tasks.filter_map(wait).collect()
}

fn run_queue_wait(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let wait_ns = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(wait_ns))
}
