//! How late the machine itself was: what a bound on time may not be charged to the service for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::fabric::RunClock;

/// How often the ticker looks at the clock.
const TICK: Duration = Duration::from_millis(5);

/// Two gauges that run beside a run: a ticker that notes how late it wakes, and what the nodes'
/// threads have waited for a processor.
#[derive(Debug)]
pub struct Gauge {
    stop: Arc<AtomicBool>,
    ticker: JoinHandle<Vec<(u64, u64)>>,
    waits: Vec<(u64, Vec<(String, Duration)>)>,
}

/// What the gauges saw; times in microseconds since the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// (when, how late).
    ticks: Vec<(u64, u64)>,
    /// (when, how much each node has waited since the last look).
    waits: Vec<(u64, BTreeMap<String, u64>)>,
}

impl Gauge {
    /// Starts the ticker.
    pub fn start(clock: RunClock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let ticker = thread::spawn(move || {
            let mut ticks = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let before = Instant::now();
                thread::sleep(TICK);
                ticks.push((clock.now_us(), micros(before.elapsed().saturating_sub(TICK))));
            }
            ticks
        });
        Self { stop, ticker, waits: Vec::new() }
    }

    /// Notes what the nodes' threads have waited for a processor, all in all, by `at_us`.
    pub fn note_waits(&mut self, at_us: u64, waited: Vec<(String, Duration)>) {
        self.waits.push((at_us, waited));
    }

    /// Stops the ticker and says what was seen.
    pub fn finish(self) -> Lateness {
        self.stop.store(true, Ordering::Relaxed);
        let ticks = self.ticker.join().expect("the ticker does not panic");
        let mut last: BTreeMap<String, Duration> = BTreeMap::new();
        let mut since_last = |waited: Vec<(String, Duration)>| {
            let grown = waited.into_iter().map(|(node, wait)| {
                // What it waited for while it started is not this run's; a restarted node counts
                // from nothing again.
                let before = last.insert(node.clone(), wait).unwrap_or(wait);
                (node, micros(wait.checked_sub(before).unwrap_or(wait)))
            });
            grown.collect()
        };
        let waits = self.waits.into_iter().map(|(at_us, waited)| (at_us, since_last(waited)));
        Lateness { ticks, waits: waits.collect() }
    }
}

impl Lateness {
    /// How late the machine was between two moments, in microseconds: the worst of the ticker's
    /// delays and of one node's waiting.
    pub fn within(&self, from_us: u64, until_us: u64) -> u64 {
        let inside = |at_us: u64| from_us <= at_us && at_us <= until_us;
        let ticks = self.ticks.iter().filter(|(at_us, _)| inside(*at_us)).map(|(_, late)| *late);
        let mut by_node: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, waited) in self.waits.iter().filter(|(at_us, _)| inside(*at_us)) {
            for (node, wait_us) in waited {
                *by_node.entry(node).or_default() += wait_us;
            }
        }
        ticks.chain(by_node.into_values()).max().unwrap_or(0)
    }

    /// What the gauges would say of one late tick and nothing else.
    #[cfg(test)]
    pub fn of_one_tick(at_us: u64, late_us: u64) -> Self {
        Self { ticks: vec![(at_us, late_us)], waits: Vec::new() }
    }

    /// The latest that the ticker ever woke, in microseconds.
    pub fn worst_tick_us(&self) -> u64 {
        self.ticks.iter().map(|(_, late_us)| *late_us).max().unwrap_or(0)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("no run lasts 500,000 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_that_of_the_window_and_of_the_worst_gauge() {
        let wait = |node: &str, wait_us| BTreeMap::from([(node.to_owned(), wait_us)]);
        let lateness = Lateness {
            ticks: vec![(10, 3), (20, 40), (90, 500)],
            waits: vec![(15, wait("n1", 30)), (25, wait("n1", 30)), (30, wait("n2", 10))],
        };
        assert_eq!(lateness.within(0, 12), 3);
        // n1 has waited twice in the window, which adds up.
        assert_eq!(lateness.within(0, 50), 60);
        assert_eq!(lateness.within(0, 100), 500);
        assert_eq!(lateness.worst_tick_us(), 500);
    }

    #[test]
    fn a_node_that_restarts_counts_from_nothing() {
        let mut gauge = Gauge::start(RunClock::default());
        for (at_us, wait_us) in [(1, 700), (2, 900), (3, 50)] {
            gauge.note_waits(at_us, vec![("n1".to_owned(), Duration::from_micros(wait_us))]);
        }
        let waits = gauge.finish().waits;
        let grown: Vec<_> = waits.iter().map(|(_, waited)| waited["n1"]).collect();
        assert_eq!(grown, [0, 200, 50]);
    }
}
