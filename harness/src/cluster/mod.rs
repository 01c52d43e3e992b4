//! A cluster: the nodes of one run, as scenarios and schedules see them whatever they run on.

pub(crate) mod limits;
mod log;
pub mod ports;
pub mod proc;
pub mod process;
pub(crate) mod scratch;
pub mod simulated;
pub mod warden;

use std::{collections::BTreeMap, fmt, future::Future, time::Duration};

use node::Channel;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The nodes of one run.
pub trait Cluster {
    /// Their names.
    fn nodes(&self) -> &[String];

    /// Kills every named node that runs, all at once, and returns when they are gone: those that
    /// ran.
    fn kill(&mut self, nodes: &[String]) -> impl Future<Output = Vec<String>>;

    /// Stops every named node that runs where it is, and returns when they stand still: those that
    /// ran.
    fn pause(&mut self, nodes: &[String]) -> impl Future<Output = Vec<String>>;

    /// Lets the named nodes go on.
    fn resume(&mut self, nodes: &[String]);

    /// Starts every named node that does not run.
    ///
    /// # Errors
    /// When one cannot be started.
    fn start(&mut self, nodes: &[String]) -> Result<(), NodeFailure>;

    /// Waits until every node that runs is ready.
    ///
    /// # Errors
    /// When one ends instead, or takes too long.
    fn ready(&mut self) -> impl Future<Output = Result<(), NodeFailure>>;

    /// How often to look whether a node has fallen.
    fn watch_every(&self) -> Duration;

    /// A node that has ended though nobody killed it.
    fn fallen(&mut self) -> Option<NodeFailure>;

    /// How many bytes each node has on its disk.
    fn stored_bytes(&self) -> BTreeMap<String, u64>;

    /// The way from the client `client` to `node`.
    fn client(&self, client: &str, node: &str) -> Channel;
}

/// How long the bytes of one node wait before they are durable: disks are not alike, nor is one
/// disk on two days, so each start draws its own delay.
struct DiskDelays {
    range_ms: [u64; 2],
    random: StdRng,
}

impl DiskDelays {
    /// For the node at `index` in a run with this seed.
    fn new(range_ms: [u64; 2], seed: u64, index: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let random = (0..=index).map(|_| StdRng::from_rng(&mut random)).last();
        Self { range_ms, random: random.expect("there is a first node") }
    }

    /// The delay of the next start, in milliseconds.
    fn draw_ms(&mut self) -> u64 {
        let [least, most] = self.range_ms;
        self.random.random_range(least..=most)
    }
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFailure {
    /// Which node.
    pub node: String,
    /// What it did, as the rest of a sentence that starts with its name.
    pub what: String,
    /// Whether the machine is to blame, and not the node.
    pub by_machine: bool,
}

impl NodeFailure {
    /// A failure that is the node's own fault.
    pub fn own(node: &str, what: String) -> Self {
        Self { node: node.to_owned(), what, by_machine: false }
    }

    /// A failure that is no fault of the node.
    pub fn of_machine(node: &str, what: String) -> Self {
        Self { by_machine: true, ..Self::own(node, what) }
    }
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.node, self.what)
    }
}

impl std::error::Error for NodeFailure {}
