//! Progress: while enough nodes can speak to each other, what clients want gets done.

use super::{Finding, Late, seconds};
use crate::fabric::weather::Weather;

/// A write, whosever. Times in microseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When it was first sent.
    pub call_us: u64,
    /// Until when its client waited for it: it was done then, or given up. `u64::MAX` for a client
    /// that still waits.
    pub until_us: u64,
    /// Whether its client knew then that it was done.
    pub is_done: bool,
}

/// Some write succeeds within `bound_us` while some majority is pairwise connected and steady, as
/// long as somebody waits for one: from the moment that one was asked for, and from each success
/// on.
/// `end_us` is the end of the run.
pub fn stalled(writes: &[Write], bound_us: u64, weather: &Weather, end_us: u64) -> Option<Late> {
    let done = writes.iter().filter(|write| write.is_done);
    let mut done_us: Vec<u64> = done.map(|write| write.until_us).collect();
    done_us.sort_unstable();
    let mut from_us: Vec<u64> = writes.iter().map(|write| write.call_us).collect();
    from_us.extend(&done_us);
    from_us.sort_unstable();
    from_us.into_iter().find_map(|from_us| {
        let since_us = weather.steady_from(from_us, bound_us);
        // Whoever asked may have given up before the storm was over; then somebody else asks.
        let is_wanted = |write: &&Write| write.call_us <= since_us && write.until_us > since_us;
        writes.iter().find(is_wanted)?;
        let next = done_us.partition_point(|at_us| *at_us <= since_us);
        let at_us = done_us.get(next).copied().unwrap_or(end_us);
        let took_us = at_us.saturating_sub(since_us);
        (took_us > bound_us).then(|| {
            let sentence = format!(
                "From {} to {}, for {}, no write succeeded, though a majority of the nodes could \
                 speak to each other. One should have within {}.",
                seconds(since_us),
                seconds(at_us),
                seconds(took_us),
                seconds(bound_us),
            );
            let finding = Finding { sentence, since_us, at_us, clients: Vec::new() };
            Late { finding, took_us, bound_us }
        })
    })
}
