//! The one clock of history, record and faults.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Microseconds since the start of a run; cheap to clone. It stands at 0 until the nodes are ready
/// and the run starts, and then no two readings are equal: what happened before what is always
/// known, also in a simulation, where everything in one millisecond happens at once (so a reading
/// may be ahead of the virtual time, by a microsecond for each reading in that millisecond).
#[derive(Clone, Debug, Default)]
pub struct RunClock(Arc<Readings>);

#[derive(Debug, Default)]
struct Readings {
    start: OnceLock<Instant>,
    last_us: AtomicU64,
    /// The last reading of all.
    end_us: OnceLock<u64>,
}

impl RunClock {
    /// Starts the clock, unless it runs already.
    pub fn start(&self) {
        self.0.start.get_or_init(Instant::now);
    }

    /// Stops it: from now on it always shows the returned time.
    pub fn stop(&self) -> u64 {
        let now_us = self.now_us();
        *self.0.end_us.get_or_init(|| now_us)
    }

    /// The time in microseconds, for those who only tell it: other readings do not differ from it.
    pub fn peek_us(&self) -> u64 {
        let Readings { start, end_us, .. } = &*self.0;
        let elapsed = start.get().map_or(Duration::ZERO, Instant::elapsed);
        let elapsed_us = u64::try_from(elapsed.as_micros()).expect("no run lasts 500,000 years");
        end_us.get().copied().unwrap_or(elapsed_us)
    }

    /// The time, in microseconds.
    pub fn now_us(&self) -> u64 {
        let Readings { start, last_us, end_us } = &*self.0;
        if start.get().is_none() || end_us.get().is_some() {
            return self.peek_us();
        }
        let elapsed_us = self.peek_us();
        let tick = |last_us: u64| elapsed_us.max(last_us + 1);
        let before =
            last_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| Some(tick(it)));
        before.map_or(elapsed_us, tick)
    }

    /// The moment `at_us` microseconds after the start, which it starts if need be.
    pub fn instant(&self, at_us: u64) -> Instant {
        *self.0.start.get_or_init(Instant::now) + Duration::from_micros(at_us)
    }
}
