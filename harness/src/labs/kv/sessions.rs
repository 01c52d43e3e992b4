//! Sessions: a write is done once, and everybody who asks for it again is told what it came to
//! (Ongaro 2014, section 6.3).

use std::{collections::BTreeMap, fmt};

use crate::checker::{Finding, seconds, shortened};

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It compares, and this was there instead, if anything.
    Mismatch(Option<String>),
}

/// A node told a client what a write came to. A write that was sent again is told of again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Whose write it is.
    pub client: &'a str,
    /// Its number; a client's numbers grow.
    pub seq: u64,
    /// Which node told it.
    pub node: &'a str,
    /// When the request had reached the node, in microseconds since the start of the run.
    pub delivered_us: u64,
    /// When the node had answered.
    pub told_us: u64,
    /// What it told.
    pub outcome: Outcome,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(formatter, "OK"),
            Self::Mismatch(None) => write!(formatter, "MISMATCH (nothing was there)"),
            Self::Mismatch(Some(found)) => {
                write!(formatter, "MISMATCH (\"{}\" was there)", shortened(found))
            }
        }
    }
}

/// A write that came to one thing and then to another, or that was done after a newer one of the
/// same client: such a request is late, and must be told so.
pub fn done_once(told: &[Told<'_>]) -> Option<Finding> {
    let mut by_client: BTreeMap<&str, Vec<&Told<'_>>> = BTreeMap::new();
    for it in told {
        by_client.entry(it.client).or_default().push(it);
    }
    by_client.into_values().find_map(|mut told| {
        told.sort_by_key(|it| it.told_us);
        told_otherwise(&told).or_else(|| done_late(&told))
    })
}

/// Of one client's, in the order in which they were told.
fn told_otherwise(told: &[&Told<'_>]) -> Option<Finding> {
    let mut first: BTreeMap<u64, &Told<'_>> = BTreeMap::new();
    told.iter().find_map(|it| {
        let earlier = *first.entry(it.seq).or_insert(it);
        (earlier.outcome != it.outcome).then(|| {
            let sentence = format!(
                "{} told {} at {} that its write {} came to {}, and {} told it {} at {}. What a \
                 write came to should be remembered, whatever it was.",
                earlier.node,
                it.client,
                seconds(earlier.told_us),
                it.seq,
                earlier.outcome,
                it.node,
                it.outcome,
                seconds(it.told_us),
            );
            found(it, earlier.told_us, sentence)
        })
    })
}

/// Of one client's, in the order in which they were told.
fn done_late(told: &[&Told<'_>]) -> Option<Finding> {
    let newest: Vec<&Told<'_>> = told
        .iter()
        .scan(None, |newest: &mut Option<&Told<'_>>, it| {
            *newest = (*newest).filter(|newest| newest.seq >= it.seq).or(Some(it));
            *newest
        })
        .collect();
    told.iter().find_map(|it| {
        let before = told.partition_point(|other| other.told_us < it.delivered_us);
        let newer = newest[before.checked_sub(1)?];
        (newer.seq > it.seq).then(|| {
            let sentence = format!(
                "{} was asked for {}'s write {} at {} and told it at {} what that came to, though \
                 the client had been told at {} of its newer write {}. It should have been STALE.",
                it.node,
                it.client,
                it.seq,
                seconds(it.delivered_us),
                seconds(it.told_us),
                seconds(newer.told_us),
                newer.seq,
            );
            found(it, newer.told_us, sentence)
        })
    })
}

fn found(it: &Told<'_>, since_us: u64, sentence: String) -> Finding {
    Finding { sentence, since_us, at_us: it.told_us, clients: vec![it.client.to_owned()] }
}
