//! The pulse of a simulated run: how far virtual time has come, and whether it stands still.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::cluster::proc::Activity;

/// For how long virtual time may stand still before the code that runs counts as hanging; what its
/// thread waits for a processor is not counted.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// How often that is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The virtual time of the run, in microseconds, as last heard of; [`OVER`] when no node runs.
static PULSE_US: AtomicU64 = AtomicU64::new(OVER);
const OVER: u64 = u64::MAX;

/// Virtual time goes on.
pub fn beat(now_us: u64) {
    PULSE_US.store(now_us, Ordering::Relaxed);
}

/// No code of a node runs any more: what is left, the checks and the record, may take its time.
pub fn over() {
    PULSE_US.store(OVER, Ordering::Relaxed);
}

/// The virtual time of the run, in microseconds, as last heard of.
pub fn now_us() -> u64 {
    PULSE_US.load(Ordering::Relaxed)
}

/// How long virtual time stands still, by what the thread of the run did meanwhile: one that waits
/// for a processor does not hang.
#[derive(Default)]
pub struct Stillness {
    seen_us: Option<u64>,
    ran: Duration,
    lasts: Duration,
}

impl Stillness {
    /// Looks again, and says whether the run hangs. One that is over, and is being checked, does
    /// not.
    pub fn hangs(&mut self, now_us: u64, thread: Activity) -> bool {
        let stands = self.seen_us.replace(now_us) == Some(now_us) && now_us != OVER;
        let ran = thread.ran.saturating_sub(mem::replace(&mut self.ran, thread.ran));
        // Nobody else would wake a thread that sleeps.
        let stood = if thread.is_asleep { LOOK_EVERY } else { ran };
        self.lasts = if stands { self.lasts + stood } else { Duration::ZERO };
        self.lasts >= HANGS_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(looks: u32) -> Activity {
        Activity { ran: LOOK_EVERY * looks, is_asleep: false }
    }

    const ASLEEP: Activity = Activity { ran: Duration::ZERO, is_asleep: true };

    #[test]
    fn a_busy_loop_hangs_after_a_while() {
        let mut stillness = Stillness::default();
        let looks = (0..1000).position(|look| stillness.hangs(7, ran(look))).unwrap();
        assert_eq!(looks as u128, HANGS_AFTER.as_millis() / LOOK_EVERY.as_millis());
    }

    #[test]
    fn a_deadlock_hangs_after_a_while() {
        let mut stillness = Stillness::default();
        let looks = (0..1000).position(|_| stillness.hangs(7, ASLEEP)).unwrap();
        assert_eq!(looks as u128, HANGS_AFTER.as_millis() / LOOK_EVERY.as_millis());
    }

    #[test]
    fn a_thread_that_gets_no_processor_does_not_hang() {
        let mut stillness = Stillness::default();
        assert!((0..1000).all(|_| !stillness.hangs(7, ran(1))));
    }

    #[test]
    fn time_that_goes_on_does_not_hang() {
        let mut stillness = Stillness::default();
        assert!((0..1000).all(|look| !stillness.hangs(u64::from(look / 2), ran(look))));
    }

    #[test]
    fn checks_that_take_long_do_not_hang() {
        let mut stillness = Stillness::default();
        assert!(!stillness.hangs(7, ASLEEP));
        assert!((0..1000).all(|look| !stillness.hangs(OVER, ran(look))));
    }
}
