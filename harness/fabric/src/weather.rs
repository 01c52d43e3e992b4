//! Calm and storm as promises see them: from the faults that struck to what was possible when.

use std::collections::BTreeSet;

use crate::fault::{Fault, Struck};

/// A link that takes longer than this is not calm, in milliseconds.
const CALM_LINK_MS: u64 = 50;
/// For how long the sender of a message that was lost may wait before it asks again, in
/// microseconds.
const SENDER_WAITS_US: u64 = 500_000;

/// What was possible when. Without faults all is calm, for ever.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    nodes: Vec<String>,
    /// One after the other, without a gap in between.
    spans: Vec<Span>,
}

/// A stretch of time in which nothing changes.
#[derive(Clone, Debug)]
struct Span {
    from_us: u64,
    until_us: u64,
    /// Whether liveness is promised: some majority is up and can speak both ways with a majority
    /// each, nobody is paused, no link is one-way or slow.
    calm: bool,
    /// The same, whatever happens to messages of clients.
    calm_between_nodes: bool,
    /// How it stands with each node.
    nodes: Vec<State>,
    /// The smallest majorities that run and can speak to each other, everybody both ways: a bit a
    /// node.
    steady: Vec<u32>,
}

/// How it stands with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It runs and reaches a majority both ways.
    Well,
    /// It runs and does not.
    Alone,
    /// It does not run.
    Silent,
}

impl Weather {
    /// The weather that `struck` made for `nodes`.
    pub fn new(struck: &[Struck], nodes: &[String]) -> Self {
        let faults: Vec<_> = struck.iter().map(|struck| (struck, extent(struck))).collect();
        let edges = faults.iter().flat_map(|(_, (from_us, until_us))| [*from_us, *until_us]);
        let edges: BTreeSet<u64> = edges.chain([0, u64::MAX]).collect();
        let edges: Vec<u64> = edges.into_iter().collect();
        let is_theirs = |struck: &&Struck| {
            struck.message.as_ref().is_none_or(|message| nodes.contains(&message.from))
                || !struck.fault.kind().is_on_message()
        };
        let span = |window: &[u64]| {
            let (from_us, until_us) = (window[0], window[1]);
            let lasts = |(from, until): (u64, u64)| from <= from_us && until_us <= until;
            let broken = || faults.iter().filter(|it| lasts(it.1)).map(|it| it.0);
            let all = look(broken().map(|it| &it.fault), nodes);
            let theirs = broken().filter(is_theirs).map(|it| &it.fault);
            let calm_between_nodes = all.calm || look(theirs, nodes).calm;
            let Look { nodes, calm, steady } = all;
            Span { from_us, until_us, calm, calm_between_nodes, nodes, steady }
        };
        Self { nodes: nodes.to_vec(), spans: edges.windows(2).map(span).collect() }
    }

    /// The first moment from `at_us` on that is followed by `for_us` of calm.
    pub fn calm_from(&self, at_us: u64, for_us: u64) -> u64 {
        self.first_from(at_us, for_us, |span| span.calm)
    }

    /// The same, whatever happens to messages of clients.
    pub fn calm_between_nodes_from(&self, at_us: u64, for_us: u64) -> u64 {
        self.first_from(at_us, for_us, |span| span.calm_between_nodes)
    }

    /// The first moment from `at_us` on that is followed by `for_us` of calm in which `node` runs
    /// and reaches a majority.
    pub fn well_from(&self, node: &str, at_us: u64, for_us: u64) -> u64 {
        let node = self.place_of(node);
        let is_well =
            |span: &Span| span.calm && node.is_some_and(|at| span.nodes[at] == State::Well);
        self.first_from(at_us, for_us, is_well)
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn place_of(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|it| it == node)
    }

    /// The first moment from `at_us` on that is followed by `for_us` in which the same majority
    /// runs and can speak to each other, whatever becomes of the others.
    pub fn steady_from(&self, at_us: u64, for_us: u64) -> u64 {
        let majorities: BTreeSet<u32> =
            self.spans.iter().flat_map(|span| span.steady.iter().copied()).collect();
        let with =
            |majority: &u32| self.first_from(at_us, for_us, |span| span.steady.contains(majority));
        let never = if self.spans.is_empty() { at_us } else { u64::MAX };
        majorities.iter().map(with).min().unwrap_or(never)
    }

    /// Since when `node` has been in a majority that runs and can speak to each other, one and the
    /// same until `at_us`; `at_us` itself if it is in none.
    pub fn steady_since(&self, node: &str, at_us: u64) -> u64 {
        let Some(node) = self.place_of(node) else { return at_us };
        let past: Vec<_> = self.spans.iter().rev().skip_while(|it| it.from_us > at_us).collect();
        let now = past.first().map_or(&[][..], |span| &span.steady);
        let since = |majority: &u32| {
            let with = past.iter().take_while(|span| span.steady.contains(majority));
            with.last().map(|span| span.from_us)
        };
        let its = now.iter().filter(|majority| *majority & (1 << node) != 0);
        its.filter_map(since).min().unwrap_or(at_us)
    }

    fn first_from(&self, at_us: u64, for_us: u64, is_good: impl Fn(&Span) -> bool) -> u64 {
        let bad = self.spans.iter().filter(|span| !is_good(span));
        bad.fold(at_us, |at_us, span| {
            let meets = span.from_us < at_us.saturating_add(for_us) && at_us < span.until_us;
            if meets { span.until_us } else { at_us }
        })
    }

    /// Whether `node` reached no majority at any time between these two moments.
    pub fn was_alone(&self, node: &str, from_us: u64, until_us: u64) -> bool {
        let Some(node) = self.place_of(node) else { return false };
        let mut met =
            self.spans.iter().filter(|it| it.from_us <= until_us && from_us < it.until_us);
        met.all(|span| span.nodes[node] == State::Alone)
    }
}

/// From when until when a fault is felt.
fn extent(struck: &Struck) -> (u64, u64) {
    let until_us = match struck.fault {
        Fault::DropRequest | Fault::DropReply | Fault::Refuse => struck.at_us + SENDER_WAITS_US,
        _ => struck.until_us,
    };
    (struck.at_us, until_us)
}

/// What is possible while something is broken.
struct Look {
    nodes: Vec<State>,
    calm: bool,
    steady: Vec<u32>,
}

/// How it stands while all this is broken.
fn look<'a>(broken: impl Iterator<Item = &'a Fault>, nodes: &[String]) -> Look {
    let mut silent: Vec<&String> = Vec::new();
    let mut blocked: Vec<(String, String)> = Vec::new();
    // Links that lose, hold or delay, and other roughness that concerns calm only.
    let (mut shaky, mut rough) = (false, false);
    for fault in broken {
        match fault {
            Fault::Kill { nodes } => silent.extend(nodes),
            Fault::Pause { nodes } => {
                silent.extend(nodes);
                rough = true;
            }
            Fault::Cut { nodes: around, shape, .. } => {
                blocked.extend(shape.blocked_pairs(around, nodes));
            }
            // A copy more is no harm to anybody's speed.
            Fault::Duplicate { .. } => {}
            Fault::Delay { ms } => shaky |= *ms > CALM_LINK_MS,
            Fault::Hold { .. } | Fault::DropRequest | Fault::DropReply | Fault::Refuse => {
                shaky = true;
            }
        }
    }
    let is_blocked =
        |from: &String, to: &String| blocked.iter().any(|pair| (&pair.0, &pair.1) == (from, to));
    rough |= blocked.iter().any(|(from, to)| !is_blocked(to, from));
    let hears = |one: &String, other: &String| {
        !silent.contains(&other) && !is_blocked(one, other) && !is_blocked(other, one)
    };
    let majority = nodes.len() / 2 + 1;
    let state = |one: &String| match nodes.iter().filter(|other| hears(one, other)).count() {
        _ if silent.contains(&one) => State::Silent,
        heard if heard >= majority => State::Well,
        _ => State::Alone,
    };
    let states: Vec<State> = nodes.iter().map(state).collect();
    let well = states.iter().filter(|state| **state == State::Well).count();
    let calm = !rough && !shaky && well >= majority;
    let is_steady = |set: &u32| {
        let members = || nodes.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
        set.count_ones() as usize == majority
            && members().all(|(_, one)| members().all(|(_, other)| hears(one, other)))
    };
    let sets = if shaky { 0..0 } else { 1..1 << nodes.len() };
    let steady = sets.filter(is_steady).collect();
    Look { nodes: states, calm, steady }
}
