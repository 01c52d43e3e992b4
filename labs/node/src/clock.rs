//! A node's clock: it measures how long things take, and agrees with no other clock.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Instant;

/// The largest offset a clock starts at: about eleven days.
const MAX_OFFSET_MS: u64 = 1_000_000_000;

/// Milliseconds since a moment that differs from node to node and from start to start, so that
/// code which sends a time to another node, or saves one, is wrong at once and not once a year.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    offset_ms: u64,
}

impl Clock {
    /// The clock of the `start`th start of the node `id` in the run of `seed`.
    pub fn new(seed: u64, id: &str, start: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, id, start).hash(&mut hasher);
        Self { started: Instant::now(), offset_ms: hasher.finish() % MAX_OFFSET_MS }
    }

    /// The time on this clock, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis());
        self.offset_ms + elapsed_ms.expect("no node runs for 500 million years")
    }
}
