//! The process engine: every node a process of its own, killed with signals, logging to a file.

mod member;

use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpListener as StdListener,
    path::{Path, PathBuf},
    pin::pin,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use node::Channel;
use tokio::{
    net::TcpListener,
    process::Child,
    time::{sleep, timeout},
};

use self::member::{Member, kill_group, signal_group};
use super::{
    Cluster, DiskDelays, NodeFailure, limits,
    ports::PortBlock,
    proc::{self, ThreadId},
    scratch::{self, Scratch},
    warden::Warden,
};
use crate::fabric::{Connection, Fabric, Link};

/// How long a node may take from its start to being ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What a cluster of processes is made from.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The node's program.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// `SEED` of every node.
    pub seed: u64,
    /// `DISK_DELAY_MS` of every start of every node, least and most.
    pub disk_delay_ms: [u64; 2],
    /// The folder for their logs.
    pub log_dir: PathBuf,
}

/// How often the nodes are looked at.
const WATCH: Duration = Duration::from_millis(20);
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
    log_dir: PathBuf,
    scratch: Scratch,
    _ports: PortBlock,
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
                disk_delays: DiskDelays::new(spec.disk_delay_ms, spec.seed, index),
                starts: 0,
                process: None,
                resident_bytes: 0,
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
            log_dir: spec.log_dir.clone(),
            scratch,
            _ports: ports,
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

    /// Where the nodes write and no room is left, which they have not taken.
    pub fn no_room(&self) -> Option<PathBuf> {
        let is_full = |dir: &&Path| match *dir == self.scratch.path() {
            true => self.scratch.is_full(),
            false => scratch::is_full(dir),
        };
        [self.scratch.path(), &self.log_dir].into_iter().find(is_full).map(Path::to_owned)
    }

    /// A node that uses too much of the machine: it is stopped.
    fn greedy(&mut self) -> Option<NodeFailure> {
        let sizes = self.members.values_mut().filter_map(Member::look);
        let largest = sizes.max().unwrap_or_default();
        if largest <= limits::MEMORY && Instant::now() < self.next_look {
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
                // The harness has built the program, and knows where it is.
                let process = member.spawn().map_err(|error| {
                    let what = format!("cannot be started: {}: {error}", member.program.display());
                    NodeFailure::of_machine(name, what)
                })?;
                process.id().into_iter().for_each(|pid| self.warden.watch_group(pid));
                member.process = Some(process);
            }
        }
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), NodeFailure> {
        let deadline = Instant::now() + READY_WITHIN;
        for name in self.names.clone() {
            if self.members[&name].process.is_none() {
                continue;
            }
            let mut ready = pin!(self.members[&name].ready());
            while timeout(WATCH, &mut ready).await.is_err() {
                // Before it is ready, it may fall or take too much as well; so may the others.
                self.fallen().map_or(Ok(()), Err)?;
                if Instant::now() >= deadline {
                    return Err(self.members[&name].never_ready());
                }
            }
        }
        Ok(())
    }

    fn watch_every(&self) -> Duration {
        WATCH
    }

    fn fallen(&mut self) -> Option<NodeFailure> {
        let warden = &self.warden;
        let fallen = self.members.values_mut().find_map(|member| member.fallen(warden));
        fallen.or_else(|| self.greedy())
    }

    fn stored_bytes(&self) -> BTreeMap<String, u64> {
        let bytes = |member: &Member| limits::folder_bytes(&member.data_dir);
        self.members.iter().map(|(name, member)| (name.clone(), bytes(member))).collect()
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
