//! A register whose every value is written once: O(n log n) (Gibbons & Korach 1997, section 4).
//!
//! The write of a value and its reads must stand together. Their *zone* lies between the first
//! return and the last call among them. A forward zone (first return before last call) is a time
//! during which the register certainly had that value; a backward zone is a time in which all of
//! them can stand at one moment. The history is linearizable if and only if no two forward zones
//! overlap and no backward zone lies inside a forward one.

use rustc_hash::FxHashMap;

use super::{Action, NEVER, Operation, Stretch, Value};

/// The write of one value and its reads.
#[derive(Clone, Copy)]
struct Cluster {
    value: Value,
    first_return_us: u64,
    last_call_us: u64,
    write_call_us: u64,
    /// Whether the write is among the operations; the value of the start has none.
    written: bool,
}

/// Decides a stretch that starts with the one value in `starts`; `None` if it does more than put
/// and get, puts a value twice, or may start with several values.
pub fn decide(operations: &[Operation], starts: &[Value]) -> Option<Stretch> {
    let [start] = starts else { return None };
    let mut clusters = clusters(operations, *start)?;
    for cluster in clusters.values() {
        let reads_from_nowhere = !cluster.written && cluster.value != *start;
        if reads_from_nowhere || cluster.first_return_us < cluster.write_call_us {
            return Some(Stretch::Impossible);
        }
    }
    if clusters.len() == 1 {
        return Some(Stretch::Ends(vec![clusters.into_values().next()?.value]));
    }
    if let Some(initial) = clusters.get_mut(start).filter(|initial| !initial.written) {
        // It was written before everything else.
        initial.first_return_us = 0;
    }
    let clusters: Vec<Cluster> = clusters.into_values().collect();
    Some(match conflict(&clusters) {
        true => Stretch::Impossible,
        false => Stretch::Ends(last_values(&clusters)),
    })
}

fn clusters(operations: &[Operation], start: Value) -> Option<FxHashMap<Value, Cluster>> {
    let mut clusters: FxHashMap<Value, Cluster> = FxHashMap::default();
    clusters.reserve(operations.len() / 2);
    for operation in operations {
        let (value, writes) = match operation.action {
            Action::Get(value) => (value, false),
            Action::Put(value) => (value, true),
            _ => return None,
        };
        // Moment 0 is the start, which comes before every operation.
        let (call_us, return_us) =
            (operation.call_us.saturating_add(1), operation.return_us.saturating_add(1));
        let cluster = clusters.entry(value).or_insert(Cluster {
            value,
            first_return_us: NEVER,
            last_call_us: 0,
            write_call_us: 0,
            written: false,
        });
        cluster.first_return_us = cluster.first_return_us.min(return_us);
        cluster.last_call_us = cluster.last_call_us.max(call_us);
        if writes {
            if cluster.written || value == start {
                return None;
            }
            (cluster.written, cluster.write_call_us) = (true, call_us);
        }
    }
    // The value of the start stands there even if nobody reads it.
    clusters.entry(start).or_insert(Cluster {
        value: start,
        first_return_us: 0,
        last_call_us: 0,
        write_call_us: 0,
        written: false,
    });
    Some(clusters)
}

/// Whether two forward zones overlap, or a backward one is inside a forward one.
fn conflict(clusters: &[Cluster]) -> bool {
    let is_forward = |cluster: &&Cluster| cluster.first_return_us < cluster.last_call_us;
    let mut forward: Vec<&Cluster> = clusters.iter().filter(is_forward).collect();
    forward.sort_unstable_by_key(|cluster| cluster.first_return_us);
    if forward.windows(2).any(|pair| pair[1].first_return_us < pair[0].last_call_us) {
        return true;
    }
    clusters.iter().filter(|cluster| !is_forward(cluster)).any(|backward| {
        // Forward zones do not overlap: only the last one that starts before can hold it.
        let before = forward.partition_point(|it| it.first_return_us < backward.last_call_us);
        forward[..before].last().is_some_and(|it| backward.first_return_us < it.last_call_us)
    })
}

/// The values that can be the last one: all others are over before these have to be.
fn last_values(clusters: &[Cluster]) -> Vec<Value> {
    let mut calls: Vec<u64> = clusters.iter().map(|cluster| cluster.last_call_us).collect();
    calls.sort_unstable_by(|one, other| other.cmp(one));
    let can_be_last = |cluster: &&Cluster| {
        let latest_other_us = match cluster.last_call_us == calls[0] {
            true => calls.get(1).copied().unwrap_or(0),
            false => calls[0],
        };
        latest_other_us <= cluster.first_return_us
    };
    clusters.iter().filter(can_be_last).map(|cluster| cluster.value).collect()
}
