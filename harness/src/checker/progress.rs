//! Progress: while enough nodes can speak to each other, what clients want gets done.

use super::{Finding, Late, seconds};
use crate::fabric::weather::Weather;

/// A write, whosever. Times in microseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When it was first sent.
    pub call_us: u64,
    /// When its client knew that it was done; `None` if it never did.
    pub return_us: Option<u64>,
}

/// Some write succeeds within `bound_us` while some majority is pairwise connected and steady, if
/// somebody wants to write. `end_us` is the end of the run.
pub fn stalled(writes: &[Write], bound_us: u64, weather: &Weather, end_us: u64) -> Option<Late> {
    let mut done_us: Vec<u64> = writes.iter().filter_map(|write| write.return_us).collect();
    done_us.sort_unstable();
    let mut asked_us: Vec<u64> = writes.iter().map(|write| write.call_us).collect();
    asked_us.sort_unstable();
    asked_us.into_iter().find_map(|asked_us| {
        let since_us = weather.steady_from(asked_us, bound_us);
        // Whoever asked may have given up before the storm was over; then somebody else asks.
        let is_wanted = |write: &&Write| {
            write.call_us <= since_us && write.return_us.is_none_or(|at_us| at_us > since_us)
        };
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
