//! Workloads: what the clients of some lab do, and what its checks and bounds are called.
//!
//! A workload sees channels, the history and the clock; never the engine.

pub mod script;

use std::{collections::BTreeMap, future::Future, pin::Pin};

use node::Channel;
use rand::rngs::StdRng;

use crate::{
    checker::{Finding, Late, Named, Restart},
    fabric::{RunClock, decode::Decoder, record::Message, weather::Weather},
    history::{History, Operation},
};

/// One client of a run.
pub struct Client {
    /// Its number, from 1; its name is `c` and the number.
    pub number: u32,
    /// The way to each node.
    pub channels: Vec<(String, Channel)>,
    /// What it writes its operations to.
    pub history: History,
    /// The run's clock.
    pub clock: RunClock,
}

/// What a run left behind for the checks.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What the clients saw.
    pub history: Vec<Operation>,
    /// What the fabric carried.
    pub messages: Vec<Message>,
    /// What was possible when.
    pub weather: Weather,
    /// The nodes that were killed and came back.
    pub restarts: Vec<Restart>,
    /// How often nodes or links were broken.
    pub outages: usize,
    /// How many bytes each node had on its disk at the end.
    pub stored_bytes: BTreeMap<String, u64>,
    /// When the run ended.
    pub end_us: u64,
}

/// What the evidence holds against a service.
#[derive(Debug, Default)]
pub struct Charges {
    /// Promises that were broken.
    pub findings: Vec<Named<Finding>>,
    /// Bounds that were missed.
    pub lates: Vec<Named<Late>>,
    /// What a check could not decide, in one sentence.
    pub undecided: Option<String>,
}

impl Charges {
    /// What `check` and `bound` find, each by the names that a scenario gives.
    pub fn by_name(
        checks: &[String],
        bounds_us: &BTreeMap<String, u64>,
        mut check: impl FnMut(&str) -> Option<Finding>,
        bound: impl Fn(&str, u64) -> Option<Late>,
    ) -> Self {
        let found = |name: &String| Some((name.clone(), check(name)?));
        let findings = checks.iter().filter_map(found).collect();
        let missed = |(name, us): (&String, &u64)| Some((name.clone(), bound(name, *us)?));
        let lates = bounds_us.iter().filter_map(missed).collect();
        Self { findings, lates, undecided: None }
    }
}

/// A client as it acts, a turn at a time.
pub trait Actor: Send {
    /// Does one thing from beginning to end, choosing by `random`.
    fn turn(&mut self, random: StdRng) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What the clients of one lab do, and how what they saw is judged.
pub trait Workload: Send + Sync {
    /// What reads the messages of the lab's services.
    fn decoder(&self) -> Decoder;

    /// A client that has done nothing yet.
    fn client(&self, client: Client) -> Box<dyn Actor>;

    /// The checks that a scenario may name.
    fn checks(&self) -> &'static [&'static str];

    /// The bounds that a scenario may name.
    fn bounds(&self) -> &'static [&'static str];

    /// How soon after its start some client of a right service has got what it came for, in
    /// milliseconds.
    fn starts_within_ms(&self) -> u64;

    /// After how much calm some client of a right service has got what it came for, whatever was
    /// broken before, in milliseconds.
    fn recovers_within_ms(&self) -> u64;

    /// What the evidence holds against the service by the named checks and bounds (in
    /// microseconds).
    fn judge(
        &self,
        evidence: &Evidence,
        checks: &[String],
        bounds_us: &BTreeMap<String, u64>,
    ) -> Charges;

    /// When clients got what they came for, in microseconds since the start: the progress that is
    /// due in calm.
    fn progress_us(&self, history: &[Operation]) -> Vec<u64>;
}
