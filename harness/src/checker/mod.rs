//! What labs share to judge a run by. It knows no lab, engine, workload or report.

pub mod progress;

pub use linearizable;

use crate::clean;

/// What a check or a bound found, by the name that a scenario gives it.
pub type Named<T> = (String, T);

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What happened and what should have, in plain words, with the names and times of the run.
    pub sentence: String,
    /// When it began, in microseconds since the start of the run.
    pub since_us: u64,
    /// When it had happened.
    pub at_us: u64,
    /// The clients it happened to.
    pub clients: Vec<String>,
}

/// Something that should have happened sooner. Whether it is the service's fault depends on how
/// late the machine itself was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// What was late.
    pub finding: Finding,
    /// How long it took, at least, in microseconds.
    pub took_us: u64,
    /// How long it may take.
    pub bound_us: u64,
}

/// A node was ended by force and started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which node.
    pub node: String,
    /// When it was known to be gone, in microseconds since the start of the run.
    pub fell_us: u64,
    /// When it was started again.
    pub back_us: u64,
}

/// A time of a run as people read it: `1.204 s`.
pub fn seconds(at_us: u64) -> String {
    format!("{}.{:03} s", at_us / 1_000_000, at_us / 1000 % 1000)
}

/// How many characters of a value a sentence can bear.
const LEGIBLE: usize = 60;

/// The two ends of a text that is too long for a sentence.
pub fn shortened(text: &str) -> String {
    clean::shortened(text, LEGIBLE)
}
