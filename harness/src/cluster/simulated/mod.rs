//! Nodes that share one thread and a virtual clock: a lab's own code, and no sockets or disks.

pub mod host;
pub mod network;
pub mod store;
pub mod watchdog;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use node::{Channel, Clock, Context, Disk, Services};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use self::{
    host::NodeHost,
    network::{Inbox, Latency},
    store::{DiskKind, Records},
};
use super::{Cluster, DiskDelays, NodeFailure};
use crate::fabric::{Fabric, Link};

/// A lab as its library offers it: from what a node is given to the services it serves.
pub type Lab = Arc<dyn Fn(Context) -> Pin<Box<dyn Future<Output = Services> + Send>> + Send + Sync>;

/// How long a node may take from its start to being ready, in virtual time.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How often the nodes are looked at, in virtual time: a look costs as much as some messages.
const WATCH: Duration = Duration::from_millis(100);

/// What a simulated cluster is made from.
#[derive(Clone)]
pub struct Spec {
    /// The lab.
    pub lab: Lab,
    /// How many nodes.
    pub nodes: usize,
    /// What the nodes and the network draw from.
    pub seed: u64,
    /// What the nodes keep their records in.
    pub disk: DiskKind,
    /// An empty folder, where they keep them if they do so in files.
    pub scratch: PathBuf,
    /// How long bytes wait before they are durable, in milliseconds, least and most.
    pub disk_delay_ms: [u64; 2],
    /// The most that a message takes, in milliseconds.
    pub latency_ms: u64,
}

/// Nodes that are simulated.
pub struct SimulatedCluster {
    names: Vec<String>,
    members: BTreeMap<String, Member>,
    fabric: Fabric,
    client_links: Mutex<BTreeMap<(String, String), Arc<Link>>>,
    spec: Spec,
}

struct Member {
    inbox: Inbox,
    peers: Vec<(String, Arc<Link>)>,
    records: Records,
    disk_delays: DiskDelays,
    starts: u32,
    host: Option<Arc<NodeHost>>,
}

impl SimulatedCluster {
    /// Lays out the links of a cluster whose nodes do not run yet. It needs a runtime whose clock
    /// is paused.
    pub fn new(spec: Spec, fabric: Fabric) -> Self {
        let names: Vec<String> = (1..=spec.nodes).map(|number| format!("n{number}")).collect();
        let latency = Latency::new(StdRng::seed_from_u64(spec.seed), spec.latency_ms);
        let inbox = |name: &String| (name.clone(), Inbox::new(latency.clone()));
        let inboxes: BTreeMap<_, _> = names.iter().map(inbox).collect();
        let link = |name: &str, peer: &String| {
            let link = Link::between_nodes(fabric.clone(), name, peer, inboxes[peer].clone());
            (peer.clone(), link)
        };
        let member = |(index, name): (usize, &String)| {
            let others = names.iter().filter(|peer| *peer != name);
            let member = Member {
                inbox: inboxes[name].clone(),
                peers: others.map(|peer| link(name, peer)).collect(),
                records: Records::new(spec.disk, spec.scratch.join(name)),
                disk_delays: DiskDelays::new(spec.disk_delay_ms, spec.seed, index),
                starts: 0,
                host: None,
            };
            (name.clone(), member)
        };
        let members = names.iter().enumerate().map(member).collect();
        Self { members, names, fabric, client_links: Mutex::default(), spec }
    }

    fn named<'a>(
        &'a mut self,
        nodes: &'a [String],
    ) -> impl Iterator<Item = (&'a String, &'a mut Member)> {
        self.members.iter_mut().filter(|(name, _)| nodes.contains(name))
    }

    fn running<'a>(
        &'a self,
        nodes: &'a [String],
    ) -> impl Iterator<Item = (&'a String, &'a Arc<NodeHost>)> {
        let of = |name| self.members.get(name).and_then(|member| member.host.as_ref());
        nodes.iter().filter_map(move |name| Some((name, of(name)?)))
    }
}

impl Cluster for SimulatedCluster {
    fn nodes(&self) -> &[String] {
        &self.names
    }

    async fn kill(&mut self, nodes: &[String]) -> Vec<String> {
        let mut killed = Vec::new();
        for (name, member) in self.named(nodes) {
            if let Some(host) = member.host.take() {
                member.inbox.close();
                member.records.crash().expect("the disk takes a copy of what it holds");
                host.crash();
                killed.push(name.clone());
            }
        }
        killed
    }

    async fn pause(&mut self, nodes: &[String]) -> Vec<String> {
        let paused = self.running(nodes).map(|(name, host)| {
            host.pause();
            name.clone()
        });
        paused.collect()
    }

    fn resume(&mut self, nodes: &[String]) {
        self.running(nodes).for_each(|(_, host)| host.resume());
    }

    fn start(&mut self, nodes: &[String]) -> Result<(), NodeFailure> {
        let spec = self.spec.clone();
        for (name, member) in self.named(nodes).filter(|(_, member)| member.host.is_none()) {
            member.start(name, &spec);
        }
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), NodeFailure> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(failure) = self.fallen() {
                return Err(failure);
            }
            let mut running = self.members.iter().filter(|(_, member)| member.host.is_some());
            let Some((name, _)) = running.find(|(_, member)| !member.inbox.is_open()) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let what = format!("was not ready {} s after its start", READY_WITHIN.as_secs());
                return Err(NodeFailure::own(name, what));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn watch_every(&self) -> Duration {
        WATCH
    }

    fn fallen(&mut self) -> Option<NodeFailure> {
        self.members.iter().find_map(|(name, member)| {
            let what = member.host.as_ref()?.fallen()?;
            Some(NodeFailure::own(name, what))
        })
    }

    fn stored_bytes(&self) -> BTreeMap<String, u64> {
        let bytes = |member: &Member| member.records.bytes();
        self.members.iter().map(|(name, member)| (name.clone(), bytes(member))).collect()
    }

    fn client(&self, client: &str, node: &str) -> Channel {
        let mut links = self.client_links.lock().expect("no holder of this lock panics");
        let inbox = || self.members[node].inbox.clone();
        let make = || Link::from_client(self.fabric.clone(), client, node, inbox());
        links.entry((client.to_owned(), node.to_owned())).or_insert_with(make).clone().channel()
    }
}

impl Drop for SimulatedCluster {
    fn drop(&mut self) {
        for host in self.members.values_mut().filter_map(|member| member.host.take()) {
            host.crash();
        }
    }
}

impl Member {
    fn start(&mut self, name: &str, spec: &Spec) {
        self.starts += 1;
        let host = NodeHost::new(name);
        self.host = Some(host.clone());
        let channel =
            |(peer, link): &(String, Arc<Link>)| (peer.clone(), network::channel(link.clone()));
        let peers = self.peers.iter().map(channel).collect();
        let delay = Duration::from_millis(self.disk_delays.draw_ms());
        let (store, starts, inbox) = (self.records.store(), self.starts, self.inbox.clone());
        let (id, seed, lab) = (name.to_owned(), spec.seed, spec.lab.clone());
        node::host::inside(Some(host.clone()), || {
            node::spawn(async move {
                let clock = Clock::new(seed, &id, starts);
                let disk = Disk::simulated(store, delay).unwrap_or_else(|why| panic!("{why:#}"));
                let services = lab(Context { id: id.clone(), peers, disk, clock }).await;
                tracing::info!(node = id, start = starts, "serving");
                network::serve(services, inbox.listen()).await;
            });
        });
        tokio::spawn(host.run());
    }
}
