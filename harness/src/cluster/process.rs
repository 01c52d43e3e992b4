//! The process engine: every node a process of its own, killed with signals, logging to a file.
#![expect(unsafe_code, reason = "a child must be told to die with its parent before it starts")]

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    net::TcpListener as StdListener,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
#[cfg(target_os = "linux")]
use landlock::RulesetCreated;
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

#[cfg(target_os = "linux")]
use super::scratch::fence;
use super::{
    Cluster, NodeFailure, limits, log,
    ports::PortBlock,
    proc::{self, Process, ThreadId},
    scratch::Scratch,
    warden::Warden,
};
use crate::fabric::{Connection, Fabric, Link};

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

/// How long a signal may take to stop a process.
const STOPS_WITHIN: Duration = Duration::from_secs(1);
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
    /// When the nodes are to be looked at for what they use.
    next_look: Instant,
    _ports: PortBlock,
    _scratch: Scratch,
}

struct Member {
    name: String,
    program: PathBuf,
    address: String,
    data_dir: PathBuf,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    starts: u32,
    process: Option<Child>,
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
                let exit = Connection::to(&ports.address(peer_index));
                let link = Link::between_nodes(fabric.clone(), name, peer, exit);
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                peers.push(format!("{peer}={}", listener.local_addr()?));
                tokio::spawn(link.serve(listener));
            }
            let address = ports.address(index);
            let data_dir = scratch.data_dir(name)?;
            let environment = vec![
                ("NODE_ID", name.clone()),
                ("LISTEN", address.clone()),
                ("PEERS", peers.join(",")),
                ("DATA_DIR", data_dir.display().to_string()),
                ("SEED", spec.seed.to_string()),
                ("DISK_DELAY_MS", spec.disk_delay_ms.to_string()),
                ("RUST_LOG", "info".to_owned()),
                ("LOG_FORMAT", "human".to_owned()),
            ];
            let member = Member {
                name: name.clone(),
                program: spec.program.clone(),
                address,
                data_dir,
                environment,
                log: spec.log_dir.join(format!("{name}.log")),
                starts: 0,
                process: None,
            };
            members.insert(name.clone(), member);
        }
        Ok(Self {
            names,
            members,
            fabric,
            client_links: Mutex::default(),
            warden,
            next_look: Instant::now(),
            _ports: ports,
            _scratch: scratch,
        })
    }

    /// Where `node` listens, outside the fabric.
    pub fn address(&self, node: &str) -> &str {
        &self.members[node].address
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
        let own = proc::own_run_queue_wait().map(|wait| (OWN_THREAD, wait));
        pids.flat_map(proc::run_queue_waits).chain(own).collect()
    }

    /// A node that uses too much of the machine: it is stopped.
    fn greedy(&mut self) -> Option<NodeFailure> {
        let pids = self.members.values().filter_map(|member| member.process.as_ref()?.id());
        let grows = pids.filter_map(proc::process).any(|it| limits::is_too_large(&it));
        if !grows && Instant::now() < self.next_look {
            return None;
        }
        self.next_look = Instant::now() + limits::LOOK_EVERY;
        let all = proc::processes();
        let warden = &self.warden;
        self.members.values_mut().find_map(|member| member.greedy(&all, warden))
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

    async fn pause(&mut self, nodes: &[String]) -> Vec<String> {
        let mut paused = Vec::new();
        for name in nodes {
            let member = self.members.get(name).expect("schedules name nodes of the cluster");
            if let Some(pid) = member.process.as_ref().and_then(Child::id) {
                signal_group(pid, Signal::SIGSTOP);
                paused.push((name.clone(), pid));
            }
        }
        let deadline = Instant::now() + STOPS_WITHIN;
        let runs = |pid: u32| proc::process(pid).is_some_and(|process| !process.is_stopped);
        while paused.iter().any(|(_, pid)| runs(*pid)) && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        paused.into_iter().map(|(name, _)| name).collect()
    }

    fn resume(&mut self, nodes: &[String]) {
        let pids = nodes.iter().filter_map(|name| self.members.get(name)?.process.as_ref()?.id());
        pids.for_each(|pid| signal_group(pid, Signal::SIGCONT));
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
        let fallen = self.members.values_mut().find_map(|member| member.fallen(warden));
        fallen.or_else(|| self.greedy())
    }

    fn client(&self, client: &str, node: &str) -> Channel {
        let mut links = self.client_links.lock().expect("no holder of this lock panics");
        let address = &self.members[node].address;
        let make = || Link::from_client(self.fabric.clone(), client, node, Connection::to(address));
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
        #[cfg(target_os = "linux")]
        let mut fence =
            Some(fence::around(&self.data_dir, &self.program).map_err(io::Error::other)?);
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec, only system calls and nothing that allocates. The signal
        // follows the thread that spawns, which lives as long as this cluster.
        unsafe {
            command.pre_exec(move || {
                #[cfg(target_os = "linux")]
                {
                    prctl::set_pdeathsig(Signal::SIGKILL)?;
                    fence.take().map(RulesetCreated::restrict_self).transpose().ok();
                }
                limits::impose()?;
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
        let log = log::tail(&self.log);
        Err(self
            .failure(format!("was not ready {} s after its start{log}", READY_WITHIN.as_secs())))
    }

    fn greedy(&mut self, all: &[Process], warden: &Warden) -> Option<NodeFailure> {
        let pid = self.process.as_ref()?.id()?;
        let what = limits::exceeded(pid, all, &self.data_dir, &self.log)?;
        kill_group(pid);
        warden.forget_group(pid);
        // tokio reaps it.
        self.process = None;
        Some(self.failure(what))
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
        let what = match log::panic(&self.log) {
            Some(panic) => panic,
            None if log::ran_out_of_memory(&self.log) => limits::refused_memory(),
            None => {
                format!("{} though nobody stopped it{}", describe(status), log::tail(&self.log))
            }
        };
        Some(self.failure(what))
    }

    fn failure(&self, what: String) -> NodeFailure {
        NodeFailure { node: self.name.clone(), what }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(XFSZ)) => "wrote a file of more than 512 MiB and was stopped".to_owned(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The signal that the limit on the size of a file sends.
const XFSZ: i32 = Signal::SIGXFSZ as i32;

fn kill_group(pid: u32) {
    signal_group(pid, Signal::SIGKILL);
}

fn signal_group(pid: u32, signal: Signal) {
    let group = i32::try_from(pid).expect("process numbers are small");
    // Gone already is as good.
    let _ = killpg(Pid::from_raw(group), signal);
}
