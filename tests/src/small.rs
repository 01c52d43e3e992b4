//! Small histories that may be right or wrong, and a checker that tries every order of each.

use harness::checker::linearizable::{ABSENT, Action, Cas, NEVER, Operation, Values};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

/// What an operation does to a value, on plain texts.
pub fn apply(before: &Option<String>, action: Action, values: &Values) -> Option<Option<String>> {
    let text = |value: u32| values.text(value).map(str::to_owned);
    match action {
        Action::Get(seen) => (text(seen) == *before).then(|| before.clone()),
        Action::Put(value) => Some(text(value)),
        Action::Delete => Some(None),
        Action::Append(value) => {
            Some(Some(before.clone().unwrap_or_default() + &text(value).unwrap_or_default()))
        }
        Action::Cas { expected, new, told } => {
            let fits = text(expected) == *before;
            match told {
                Some(Cas::Done) => fits.then(|| text(new)),
                Some(Cas::Mismatch(seen)) => {
                    let told = seen.is_none_or(|seen| text(seen) == *before);
                    (!fits && told).then(|| before.clone())
                }
                None => Some(if fits { text(new) } else { before.clone() }),
            }
        }
    }
}

/// Tries every order.
pub fn by_brute_force(operations: &[Operation], values: &Values) -> bool {
    fn go(left: &mut Vec<Operation>, value: &Option<String>, values: &Values) -> bool {
        if left.iter().all(|it| it.return_us == NEVER) {
            return true;
        }
        for index in 0..left.len() {
            // One process does one thing after the other, in this order.
            let is_ready = |other: &Operation, is_earlier: bool| {
                let own = other.process == left[index].process;
                other.return_us > left[index].call_us
                    || (other.return_us == left[index].call_us && !(own && is_earlier))
            };
            let mut others = left.iter().enumerate().filter(|(other, _)| *other != index);
            if !others.all(|(place, other)| is_ready(other, place < index)) {
                continue;
            }
            let operation = left.remove(index);
            let after = match operation {
                // It never learned what it read, so it read anything.
                Operation { action: Action::Get(_), return_us: NEVER, .. } => Some(value.clone()),
                _ => apply(value, operation.action, values),
            };
            let works = after.is_some_and(|after| go(left, &after, values));
            left.insert(index, operation);
            if works {
                return true;
            }
        }
        false
    }
    go(&mut operations.to_vec(), &None, values)
}

fn draw_action(random: &mut StdRng, texts: &[u32], fresh: &mut dyn FnMut() -> u32) -> Action {
    let any = |random: &mut StdRng| *[&[ABSENT], texts].concat().choose(random).expect("some");
    let mut value = |random: &mut StdRng| match random.random_range(0..2) {
        0 => *texts.choose(random).expect("some"),
        _ => fresh(),
    };
    match random.random_range(0..10) {
        0..4 => Action::Get(any(random)),
        4..7 => Action::Put(value(random)),
        7 => Action::Append(*texts.choose(random).expect("some")),
        8 => {
            let told = match random.random_range(0..4) {
                0 | 1 => Some(Cas::Done),
                2 => Some(Cas::Mismatch(None)),
                _ => Some(Cas::Mismatch(Some(any(random)))),
            };
            Action::Cas { expected: any(random), new: value(random), told }
        }
        _ => Action::Delete,
    }
}

/// A small history that might have happened, or nearly: half of the answers come from running the
/// operations one after the other at random moments.
pub fn draw(random: &mut StdRng, most: u64, one_times_out_of: u32) -> (Vec<Operation>, Values) {
    let mut values = Values::default();
    let texts = ["a", "b", "ab"].map(|text| values.number(text));
    let kinds = random.random_range(0..3);
    let count = random.random_range(1..=most);
    let mut moments: Vec<u64> = (0..3 * count).collect();
    let mut fresh_number = 0;
    let mut operations = Vec::new();
    for _ in 0..count {
        // Not too far from each other, or everything would be concurrent.
        let near = random.random_range(0..moments.len());
        let mut take = || moments.remove(near.min(moments.len() - 1) / random.random_range(1..=2));
        let mut times = [take(), take(), take()];
        times.sort_unstable();
        let mut fresh = || {
            fresh_number += 1;
            values.number(&format!("w{fresh_number}"))
        };
        let action = loop {
            let action = draw_action(random, &texts, &mut fresh);
            let allowed = match kinds {
                0 => matches!(action, Action::Get(_) | Action::Put(_)),
                1 => matches!(action, Action::Get(_) | Action::Put(_) | Action::Cas { .. }),
                _ => true,
            };
            if allowed {
                break action;
            }
        };
        let [call_us, moment, return_us] = times;
        operations.push((moment, Operation { process: 0, action, call_us, return_us }));
    }
    if random.random_range(0..4) > 0 {
        answer_truly(&mut operations, &mut values);
    }
    let mut operations: Vec<Operation> = operations.into_iter().map(|(_, it)| it).collect();
    for operation in &mut operations {
        if random.random_range(0..one_times_out_of) == 0 {
            operation.return_us = NEVER;
            if let Action::Cas { told, .. } = &mut operation.action {
                *told = None;
            }
        }
    }
    give_processes(&mut operations, random);
    (operations, values)
}

/// Lets operations that can be of one process be so, about half of the time.
fn give_processes(operations: &mut [Operation], random: &mut StdRng) {
    operations.sort_by_key(|it| (it.call_us, it.return_us));
    let mut free_us: Vec<u64> = Vec::new();
    for operation in operations {
        let is_free = |process: &usize| free_us[*process] <= operation.call_us;
        let free: Vec<usize> = (0..free_us.len()).filter(is_free).collect();
        let process = match free.choose(random) {
            Some(process) if random.random_range(0..2) == 0 => *process,
            _ => {
                free_us.push(0);
                free_us.len() - 1
            }
        };
        operation.process = u32::try_from(process).unwrap();
        free_us[process] = operation.return_us;
    }
}

/// The same history by a coarser clock, so that much of it touches.
pub fn coarser(operations: &mut [Operation], random: &mut StdRng) {
    let tick = random.random_range(2..5);
    for operation in operations.iter_mut() {
        operation.call_us /= tick;
        if operation.return_us != NEVER {
            operation.return_us /= tick;
        }
    }
    give_processes(operations, random);
}

/// Replaces what was told by what a register tells that does each at its moment.
fn answer_truly(operations: &mut [(u64, Operation)], values: &mut Values) {
    operations.sort_by_key(|(moment, _)| *moment);
    let mut value = None;
    for (_, operation) in operations {
        let now = value.as_ref().map_or(ABSENT, |text: &String| values.number(text));
        match &mut operation.action {
            Action::Get(seen) => *seen = now,
            Action::Cas { expected, told, .. } => {
                *told = Some(match *expected == now {
                    true => Cas::Done,
                    false => Cas::Mismatch(Some(now)),
                });
            }
            _ => {}
        }
        value = apply(&value, operation.action, values).expect("it was answered truly");
    }
}
