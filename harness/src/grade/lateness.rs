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

use crate::{cluster::proc::ThreadId, fabric::RunClock};

/// How often the ticker looks at the clock.
const TICK: Duration = Duration::from_millis(5);

/// Two gauges that run beside a run: a ticker that notes how late it wakes, and what the threads of
/// the nodes have waited for a processor.
#[derive(Debug)]
pub struct Gauge {
    stop: Arc<AtomicBool>,
    ticker: JoinHandle<Vec<(u64, u64)>>,
    looks: Vec<(u64, Vec<(ThreadId, Duration)>)>,
}

/// What the gauges saw; times in microseconds since the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// (when, how late): a tick, or anything else that should have been done at once.
    ticks: Vec<(u64, u64)>,
    /// (when, which thread, for how long): a thread that waited for more than half of the time
    /// between two looks. Shorter waits are the normal course of a machine at work.
    starved: Vec<(u64, ThreadId, u64)>,
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
        Self { stop, ticker, looks: Vec::new() }
    }

    /// Notes what each thread has waited for a processor, all in all, by `at_us`.
    pub fn note_waits(&mut self, at_us: u64, waited: Vec<(ThreadId, Duration)>) {
        self.looks.push((at_us, waited));
    }

    /// Stops the ticker and says what was seen.
    pub fn finish(self) -> Lateness {
        self.stop.store(true, Ordering::Relaxed);
        let ticks = self.ticker.join().expect("the ticker does not panic");
        Lateness { ticks, starved: starved(&self.looks) }
    }
}

fn starved(looks: &[(u64, Vec<(ThreadId, Duration)>)]) -> Vec<(u64, ThreadId, u64)> {
    let mut starved = Vec::new();
    for ((from_us, before), (at_us, after)) in looks.iter().zip(looks.iter().skip(1)) {
        let before: BTreeMap<_, _> = before.iter().copied().collect();
        for (thread, wait) in after {
            let earlier = before.get(thread).copied().unwrap_or(*wait);
            let wait_us = micros(wait.saturating_sub(earlier));
            if wait_us * 2 > at_us - from_us {
                starved.push((*at_us, *thread, wait_us));
            }
        }
    }
    starved
}

impl Lateness {
    /// The same, and something else that was late: when, and by how much.
    #[must_use]
    pub fn and(mut self, late: impl Iterator<Item = (u64, u64)>) -> Self {
        self.ticks.extend(late);
        self
    }

    /// How late the machine was between two moments, in microseconds: the worst of the ticker's
    /// delays and of one thread's waiting.
    pub fn within(&self, from_us: u64, until_us: u64) -> u64 {
        let inside = |at_us: u64| from_us <= at_us && at_us <= until_us;
        let ticks = self.ticks.iter().filter(|(at_us, _)| inside(*at_us)).map(|(_, late)| *late);
        let mut by_thread: BTreeMap<ThreadId, u64> = BTreeMap::new();
        for (_, thread, wait_us) in self.starved.iter().filter(|(at_us, ..)| inside(*at_us)) {
            *by_thread.entry(*thread).or_default() += wait_us;
        }
        ticks.chain(by_thread.into_values()).max().unwrap_or(0)
    }

    /// What the gauges would say of one late tick and nothing else.
    #[cfg(test)]
    pub fn of_one_tick(at_us: u64, late_us: u64) -> Self {
        Self { ticks: vec![(at_us, late_us)], starved: Vec::new() }
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
        let lateness = Lateness {
            ticks: vec![(10, 3), (20, 40), (90, 500)],
            starved: vec![(15, 1, 30), (25, 1, 30), (30, 2, 10)],
        };
        assert_eq!(lateness.within(0, 12), 3);
        // Thread 1 has starved twice in the window, which adds up.
        assert_eq!(lateness.within(0, 50), 60);
        assert_eq!(lateness.within(0, 100), 500);
        assert_eq!(lateness.worst_tick_us(), 500);
    }

    #[test]
    fn a_thread_starves_when_it_waits_for_more_than_half_of_the_time() {
        let look = |at_us, waits: &[(ThreadId, u64)]| {
            let waits = waits.iter().map(|(thread, us)| (*thread, Duration::from_micros(*us)));
            (at_us, waits.collect::<Vec<_>>())
        };
        let looks = [
            look(0, &[(1, 1_000), (2, 5_000)]),
            // Thread 2 waited for 51 of 100, thread 3 is new: what it waited before is its start.
            look(100, &[(1, 1_050), (2, 5_051), (3, 900)]),
            look(200, &[(2, 5_060), (3, 999)]),
        ];
        assert_eq!(starved(&looks), [(100, 2, 51), (200, 3, 99)]);
        assert_eq!(starved(&[]), []);
    }
}
