//! Which operation makes a history impossible: the first one by return without which there would be
//! an order.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::{
    ABSENT, Action, Cas, Decision, Limits, NEVER, Operation, Value, Values, decide_key,
    sights::writes,
};

/// Why no order explains what happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The operation that cannot be placed, by its place among the key's operations.
    pub operation: usize,
    /// Whether everything that had returned before it can be explained without it.
    pub is_first: bool,
    /// Whether nobody can have made the value that it met.
    pub from_nowhere: bool,
    /// Some values that it could have met instead.
    pub could_be: Vec<Value>,
    /// From the first call of what was under way with it to its return.
    pub window_us: (u64, u64),
}

/// How much may be tried for each question.
const STEPS: u64 = 200_000;
const MEMORY_BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(5);
/// How many values are tried, and how many are told.
const TRIED: usize = 16;
const TOLD: usize = 3;
/// To how many values appends are tried, and how many.
const BASES: usize = 3;

/// Finds the cause for `operations` on one key, which no order explains.
pub fn cause(operations: &[Operation], values: &mut Values) -> Cause {
    let deadline = Instant::now() + TIME;
    let mut by_return: Vec<usize> = (0..operations.len()).collect();
    by_return.retain(|index| operations[*index].return_us != NEVER);
    by_return.sort_by_key(|index| operations[*index].return_us);
    // So many returns are explained, and so many are not.
    let (mut good, mut bad, mut is_first) = (0, by_return.len(), true);
    while bad - good > 1 {
        let middle = (good + bad) / 2;
        match decide(&up_to(operations, &by_return[..middle]), values, deadline) {
            Decision::Impossible => bad = middle,
            Decision::Linearizable => good = middle,
            Decision::RanOut(_) => (good, is_first) = (middle, false),
        }
    }
    let operation = by_return[bad - 1];
    let before = up_to(operations, &by_return[..bad]);
    let could_be = match is_first {
        true => could_be(before, operations[operation], values, deadline),
        false => Vec::new(),
    };
    let Operation { action, call_us, return_us, .. } = operations[operation];
    let under_way =
        operations.iter().filter(|it| it.call_us <= return_us && it.return_us >= call_us);
    let from_us = under_way.map(|it| it.call_us).min().unwrap_or(call_us);
    Cause {
        operation,
        is_first,
        from_nowhere: met(action)
            .is_some_and(|value| is_from_nowhere(value, operations, return_us)),
        could_be,
        window_us: (from_us, return_us),
    }
}

fn decide(operations: &[Operation], values: &Values, deadline: Instant) -> Decision {
    let limits = Limits { steps: STEPS, memory_bytes: MEMORY_BYTES, deadline };
    decide_key(operations, values, limits)
}

/// What had been called when the last one of `returned` returned. Of others it is not known what
/// they came to.
fn up_to(operations: &[Operation], returned: &[usize]) -> Vec<Operation> {
    let is_known: FxHashSet<usize> = returned.iter().copied().collect();
    let now_us = returned.last().map_or(0, |index| operations[*index].return_us);
    let called = operations.iter().enumerate().filter(|(_, it)| it.call_us <= now_us);
    let open = |(index, operation): (usize, &Operation)| match operation.action {
        _ if is_known.contains(&index) => *operation,
        Action::Cas { expected, new, .. } => {
            let action = Action::Cas { expected, new, told: None };
            Operation { action, return_us: NEVER, ..*operation }
        }
        _ => Operation { return_us: NEVER, ..*operation },
    };
    called.map(open).collect()
}

/// The value that an operation says it met.
fn met(action: Action) -> Option<Value> {
    match action {
        Action::Get(value) | Action::Cas { told: Some(Cas::Mismatch(Some(value))), .. } => {
            Some(value)
        }
        Action::Cas { expected, told: Some(Cas::Done), .. } => Some(expected),
        _ => None,
    }
}

/// Whether nothing that was called by then writes `value`, nor appends.
fn is_from_nowhere(value: Value, operations: &[Operation], now_us: u64) -> bool {
    let mut called = operations.iter().filter(|it| it.call_us <= now_us);
    value != ABSENT
        && called
            .all(|it| writes(it.action) != Some(value) && !matches!(it.action, Action::Append(_)))
}

/// Some of the values that `wrong`, a read among `operations`, could have met.
fn could_be(
    mut operations: Vec<Operation>,
    wrong: Operation,
    values: &mut Values,
    deadline: Instant,
) -> Vec<Value> {
    let Action::Get(_) = wrong.action else { return Vec::new() };
    let Some(place) = operations.iter().rposition(|it| *it == wrong) else { return Vec::new() };
    let mut by_call: Vec<Operation> = operations.clone();
    by_call.sort_by_key(|it| std::cmp::Reverse(it.call_us));
    let plain = by_call.iter().filter_map(|it| met(it.action).or(writes(it.action)));
    let plain: Vec<Value> = plain.chain([ABSENT]).collect();
    let appended = by_call.iter().filter_map(|it| match it.action {
        Action::Append(value) => Some(value),
        _ => None,
    });
    let appended: Vec<Value> = appended.take(BASES).collect();
    let mut candidates = Vec::new();
    for (base, end) in
        plain.iter().take(BASES).flat_map(|base| appended.iter().map(move |it| (base, it)))
    {
        let text = [base, end].map(|value| values.text(*value).unwrap_or_default()).concat();
        candidates.push(values.number(&text));
    }
    candidates.extend(plain);
    let mut known = FxHashSet::default();
    candidates.retain(|value| known.insert(*value));
    candidates.truncate(TRIED);
    candidates.retain(|value| {
        operations[place].action = Action::Get(*value);
        matches!(decide(&operations, values, deadline), Decision::Linearizable)
    });
    candidates.truncate(TOLD);
    candidates
}
