//! Linearizability (Herlihy & Wing 1990): can all that the clients saw have happened one after the
//! other, each operation at a moment between its call and its return?
//!
//! Keys are independent (Herlihy & Wing 1990, theorem 1), and so are the stretches of a key's
//! history between moments at which nothing is under way, but for the value that one hands to the
//! next. Each stretch goes to the cheapest decider that fits: `zones.rs` if every value is written
//! once and only put and read, else `search.rs`.
//!
//! What touches, a return and a call at one moment, is concurrent. But one process does one thing
//! after the other: of two of its operations that touch, the one that returned came first.

mod cause;
mod grown;
mod search;
mod sights;
mod timeline;
mod tried;
mod values;
mod zones;

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

pub use self::{
    cause::{Cause, cause},
    values::{ABSENT, UNSEEN, Values},
};
use self::{grown::Grown, timeline::any_touch};

/// A value of a key, interned: equal texts have equal numbers.
pub type Value = u32;

/// What a client did to a key, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It read this value.
    Get(Value),
    /// It wrote this value.
    Put(Value),
    /// It appended this text to whatever the value was.
    Append(Value),
    /// It wrote a value if the value was the expected one.
    Cas {
        /// What it expected.
        expected: Value,
        /// What it wrote.
        new: Value,
        /// What came of it; `None` if it never knew.
        told: Option<Cas>,
    },
    /// It removed the value.
    Delete,
}

/// What the client of a compare-and-set was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cas {
    /// It wrote.
    Done,
    /// The value was another one: this one, if it was told.
    Mismatch(Option<Value>),
}

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose it is; a process has one operation at a time, until one never returns.
    pub process: u32,
    /// What was done.
    pub action: Action,
    /// When it was called.
    pub call_us: u64,
    /// When it returned; [`NEVER`] if its client never learned what came of it: it may have
    /// happened at any time after the call, or not at all.
    pub return_us: u64,
}

/// The return of an operation that never returned.
pub const NEVER: u64 = u64::MAX;

/// How much may be tried.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How many configurations each key may be searched through.
    pub steps: u64,
    /// How many bytes all searches together may keep at once, beside the history itself.
    pub memory_bytes: usize,
    /// How long all keys together may take.
    pub time: Duration,
    /// How many threads may work at once.
    pub jobs: usize,
}

impl Default for Budget {
    fn default() -> Self {
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        Self { steps: 20_000_000, memory_bytes: 512 << 20, time: Duration::from_secs(60), jobs }
    }
}

/// The verdict on one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains all.
    Linearizable,
    /// None does.
    NotLinearizable {
        /// Which key, by its place.
        key: usize,
    },
    /// The budget ran out before either was certain.
    Undecided {
        /// Which key, by its place.
        key: usize,
        /// What ran out.
        ran_out: RanOut,
    },
}

/// What of a budget ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RanOut {
    /// The steps.
    Steps,
    /// The memory.
    Memory,
    /// The time.
    Time,
}

/// What is left of a budget for one key.
pub(crate) struct Limits {
    steps: u64,
    memory_bytes: usize,
    deadline: Instant,
}

/// How a stretch of one key's history can end.
pub(crate) enum Stretch {
    /// With one of these values.
    Ends(Vec<Value>),
    /// In no way.
    Impossible,
    /// Who knows.
    RanOut(RanOut),
}

/// Judges a history: `keys` holds the operations on each key, those of one process in the order of
/// their calls. The values before the first operation are [`ABSENT`].
///
/// The keys are tried in turn, each with little at first and with more when that was not enough,
/// so that one hard key does not hide an easy violation behind it.
pub fn check(keys: &[Vec<Operation>], values: &Values, budget: Budget) -> Verdict {
    let deadline = Instant::now() + budget.time;
    let mut open: Vec<usize> = (0..keys.len()).collect();
    // A key that ran out of memory would do so again.
    let mut gave_up = None;
    let mut steps = FIRST_STEPS.min(budget.steps);
    loop {
        let decided = decide_keys(&open, keys, values, Budget { steps, ..budget }, deadline);
        let mut hard = Vec::new();
        for (key, decision) in open.into_iter().zip(decided) {
            match decision {
                Decision::Linearizable => {}
                Decision::RanOut(RanOut::Memory) => gave_up = gave_up.or(Some(key)),
                Decision::RanOut(_) => hard.push(key),
                Decision::Impossible => return Verdict::NotLinearizable { key },
            }
        }
        let undecided = |key, ran_out| Verdict::Undecided { key, ran_out };
        match (hard.first().copied(), gave_up) {
            (None, None) => return Verdict::Linearizable,
            (None, Some(key)) => return undecided(key, RanOut::Memory),
            (Some(key), _) if Instant::now() >= deadline => return undecided(key, RanOut::Time),
            (Some(key), _) if steps == budget.steps => return undecided(key, RanOut::Steps),
            _ => {}
        }
        open = hard;
        steps = (steps * STEPS_GROW).min(budget.steps);
    }
}

/// Below so many operations a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 20_000;

/// Decides the keys `open`, on several threads if that helps. What comes after the first key that
/// is impossible need not be decided.
fn decide_keys(
    open: &[usize],
    keys: &[Vec<Operation>],
    values: &Values,
    budget: Budget,
    deadline: Instant,
) -> Vec<Decision> {
    let operations: usize = open.iter().map(|key| keys[*key].len()).sum();
    let jobs = budget.jobs.min(operations / WORTH_A_THREAD).min(open.len()).max(1);
    let (steps, memory_bytes) = (budget.steps, budget.memory_bytes / jobs);
    let (next, first_impossible) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let work = || {
        let mut decided = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= open.len() || place > first_impossible.load(Ordering::Relaxed) {
                return decided;
            }
            let limits = Limits { steps, memory_bytes, deadline };
            let decision = decide_key(&keys[open[place]], values, limits);
            if let Decision::Impossible = decision {
                first_impossible.fetch_min(place, Ordering::Relaxed);
            }
            decided.push((place, decision));
        }
    };
    let mut decided = thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
        let mut decided = work();
        for other in others {
            decided.extend(other.join().expect("the checker does not panic"));
        }
        decided
    });
    decided.sort_unstable_by_key(|(place, _)| *place);
    decided.into_iter().map(|(_, decision)| decision).collect()
}

/// What came of one key.
enum Decision {
    Linearizable,
    Impossible,
    RanOut(RanOut),
}

/// How many steps a key gets in the first turn, and how many times more in each later one.
const FIRST_STEPS: u64 = 50_000;
const STEPS_GROW: u64 = 8;

fn decide_key(operations: &[Operation], given: &Values, mut limits: Limits) -> Decision {
    let mut order = relevant(operations);
    order.sort_unstable_by_key(|index| (operations[*index].call_us, *index));
    let ops_of = |stretch: &[usize]| -> Vec<Operation> {
        stretch.iter().map(|index| operations[*index]).collect()
    };
    let mut starts = vec![ABSENT];
    let mut rest = &order[..];
    let mut values: Option<Grown<'_>> = None;
    let touches = any_touch(rest, operations);
    // What touches makes more histories impossible, and none possible.
    let by_zones = |ops: &[Operation], starts: &[Value], touches: bool| {
        zones::decide(ops, starts).filter(|end| !touches || matches!(end, Stretch::Impossible))
    };
    // A register needs no stretches.
    let mut whole = by_zones(&ops_of(rest), &starts, touches);
    while !rest.is_empty() {
        let count = if whole.is_some() { rest.len() } else { quiet_after(rest, operations) };
        let (stretch, after) = rest.split_at(count);
        let ops = ops_of(stretch);
        let is_last = after.is_empty();
        let touches = touches && any_touch(stretch, operations);
        let end = match whole.take().or_else(|| by_zones(&ops, &starts, touches)) {
            Some(end) => end,
            None => {
                let values = values.get_or_insert_with(|| Grown::new(operations, given));
                search::decide(&ops, &starts, values, is_last, touches, &mut limits)
            }
        };
        match end {
            Stretch::Ends(ends) => starts = ends,
            Stretch::RanOut(ran_out) => return Decision::RanOut(ran_out),
            Stretch::Impossible => return Decision::Impossible,
        }
        rest = after;
    }
    Decision::Linearizable
}

/// How many of `order` (by call) come before the first moment at which nothing is under way.
fn quiet_after(order: &[usize], operations: &[Operation]) -> usize {
    let mut busy_until_us = 0;
    for (count, index) in order.iter().enumerate() {
        let operation = &operations[*index];
        if count > 0 && operation.call_us > busy_until_us {
            return count;
        }
        busy_until_us = busy_until_us.max(operation.return_us);
    }
    order.len()
}

/// The operations that matter. A read that never returned says nothing. Neither does a write that
/// never returned and whose value nobody has seen: wherever it might stand, it might as well not
/// have happened, unless somebody was only told that the value was *another* one.
fn relevant(operations: &[Operation]) -> Vec<usize> {
    let told_too_little = operations.iter().any(|operation| {
        matches!(operation.action, Action::Cas { told: Some(Cas::Mismatch(None)), .. })
    });
    let builds_on_anything =
        operations.iter().any(|operation| matches!(operation.action, Action::Append(_)));
    let mut seen: Vec<Value> = operations.iter().filter_map(|it| observed(it.action)).collect();
    seen.sort_unstable();
    let is_seen =
        |value: Value| told_too_little || builds_on_anything || seen.binary_search(&value).is_ok();
    let matters = |index: &usize| {
        let Operation { action, return_us, .. } = operations[*index];
        return_us != NEVER
            || match action {
                Action::Get(_) => false,
                Action::Put(value) | Action::Cas { new: value, .. } => is_seen(value),
                Action::Append(_) => true,
                Action::Delete => is_seen(ABSENT),
            }
    };
    (0..operations.len()).filter(matters).collect()
}

/// The value that an operation says the key had.
fn observed(action: Action) -> Option<Value> {
    match action {
        Action::Get(value)
        | Action::Cas { told: Some(Cas::Mismatch(Some(value))), .. }
        | Action::Cas { expected: value, .. } => Some(value),
        _ => None,
    }
}
