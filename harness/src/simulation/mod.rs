//! Runs in one process on virtual time: what they are made from, and the program that runs them.
//!
//! Variants of a lab are linked into a runner, which reads a [`Request`] a line from its standard
//! input and writes a [`Report`] a line to its standard output. Only that program needs tokio's
//! unstable parts: the harness itself is built whatever becomes of the flag.

#[cfg(tokio_unstable)]
mod logs;
#[cfg(tokio_unstable)]
mod pulse;
#[cfg(tokio_unstable)]
mod run;
#[cfg(tokio_unstable)]
mod runner;
#[cfg(tokio_unstable)]
mod streams;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(tokio_unstable)]
pub use self::runner::{lab, main};
use crate::{
    cluster::simulated::store::DiskKind,
    fabric::fault::{Entry, Struck},
    lab::Scenario,
    verdict::Verdict,
    workload::script::Turn,
};

/// Everything that a simulated run is made from. The same plan makes the same run, bit for bit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What is tried; its faults have been drawn already.
    pub scenario: Scenario,
    /// What all random choices are drawn from.
    pub seed: u64,
    /// The most that a message takes, in milliseconds.
    pub latency_ms: u64,
    /// What the nodes keep their records in.
    #[serde(default)]
    pub disk: DiskKind,
    /// What is broken.
    pub schedule: Vec<Entry>,
    /// What the clients do; as it comes if absent.
    pub turns: Option<Vec<Turn>>,
}

/// A run is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Which of the variants in the program is to run.
    pub variant: usize,
    /// The run.
    pub plan: Plan,
    /// Where history, messages and faults are to be kept, if at all.
    pub keep: Option<PathBuf>,
    /// A folder for what the nodes write.
    pub scratch: PathBuf,
}

/// What a simulation answers to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// What came of it.
    Report(Report),
    /// The same, after which the process ends: code of some node cannot be made to stop.
    Last(Report),
    /// The simulation itself failed, and ends.
    Failed(String),
}

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in plain words; empty for `passed`.
    pub story: String,
    /// The check or bound behind it.
    pub check: Option<String>,
    /// A hash of everything that happened.
    pub hash: String,
    /// How many operations the clients called.
    pub operations: usize,
    /// What the clients did when; only of a run that failed.
    pub turns: Vec<Turn>,
    /// The faults that struck.
    pub struck: Vec<Struck>,
}

impl Report {
    /// The report on a run of which nothing is left.
    pub fn without_run(verdict: Verdict, story: String) -> Self {
        Self {
            verdict,
            story,
            check: None,
            hash: String::new(),
            operations: 0,
            turns: Vec::new(),
            struck: Vec::new(),
        }
    }

    /// Whether the run failed, and did so in the same way as `other`.
    pub fn fails_like(&self, other: &Self) -> bool {
        self.failed() && self.verdict == other.verdict && self.check == other.check
    }

    /// Whether the service is to blame for anything.
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Wrong | Verdict::Slow | Verdict::Broken)
    }
}
