//! Search for an order: Wing & Gong's algorithm with Lowe's memory of what was tried (Wing & Gong
//! 1993; Lowe 2017, section 3), one configuration for each return that has to be explained.
//!
//! A configuration is a return, the value before it, and which of the operations under way have
//! taken effect; what came before is settled, so configurations stay small however long the history
//! is. Reads, and compare-and-sets that failed, take effect as soon as the value fits: that never
//! hurts, since they change nothing.

use std::time::Instant;

use rustc_hash::FxHashSet;

use super::{Action, Cas, NEVER, Operation, RanOut, Stretch, Value, Values};

/// How many configurations are remembered before a search is given up: about 48 MiB of them.
const MEMORY: usize = 1 << 20;
/// After how many steps the clock is looked at.
const CLOCK_EVERY: u64 = 4096;
/// How many of the values that were possible are told.
const POSSIBLE: usize = 16;

/// Decides a stretch that starts with any of `starts`. Unless it `is_last`, every value that it can
/// end with is found.
pub fn decide(
    operations: &[Operation],
    starts: &[Value],
    values: &mut Values,
    is_last: bool,
    steps: &mut u64,
    deadline: Instant,
) -> Stretch {
    let timeline = Timeline::new(operations);
    match timeline.slots {
        ..=64 => {
            Search::<u64>::new(operations, &timeline, is_last).run(starts, values, steps, deadline)
        }
        ..=128 => {
            Search::<u128>::new(operations, &timeline, is_last).run(starts, values, steps, deadline)
        }
        _ => Search::<Box<[u64]>>::new(operations, &timeline, is_last)
            .run(starts, values, steps, deadline),
    }
}

/// A call or a return.
#[derive(Clone, Copy)]
struct Event {
    operation: u32,
    is_return: bool,
}

/// Calls and returns by time. Operations under way at the same time have different slots.
struct Timeline {
    events: Vec<Event>,
    slot_of: Vec<u32>,
    slots: usize,
    /// For an operation that never returned, the one before it that did the same: which of the two
    /// happened first makes no difference.
    twin_of: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Timeline {
    fn new(operations: &[Operation]) -> Self {
        let mut times: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in (0..).zip(operations) {
            times.push((operation.call_us, false, index));
            if operation.return_us != NEVER {
                times.push((operation.return_us, true, index));
            }
        }
        // At one moment, calls come first: what touches is concurrent.
        times.sort_unstable();
        let events: Vec<Event> =
            times.iter().map(|&(_, is_return, operation)| Event { operation, is_return }).collect();
        let (mut slot_of, mut free, mut slots) = (vec![0; operations.len()], Vec::new(), 0);
        for event in &events {
            let slot = &mut slot_of[event.operation as usize];
            if event.is_return {
                free.push(*slot);
            } else {
                *slot = free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
            }
        }
        let mut twin_of = vec![NONE; operations.len()];
        let mut last: std::collections::HashMap<Action, u32> = std::collections::HashMap::new();
        for event in events.iter().filter(|event| !event.is_return) {
            let operation = &operations[event.operation as usize];
            if operation.return_us == NEVER {
                let earlier = last.insert(operation.action, event.operation);
                twin_of[event.operation as usize] = earlier.unwrap_or(NONE);
            }
        }
        Self { events, slot_of, slots: slots as usize, twin_of }
    }
}

/// Which slots hold operations that have taken effect.
trait Mask: Clone + Eq + std::hash::Hash {
    fn none(slots: usize) -> Self;
    fn has(&self, slot: u32) -> bool;
    fn flip(&mut self, slot: u32);
}

impl Mask for u64 {
    fn none(_: usize) -> Self {
        0
    }
    fn has(&self, slot: u32) -> bool {
        self >> slot & 1 == 1
    }
    fn flip(&mut self, slot: u32) {
        *self ^= 1 << slot;
    }
}

impl Mask for u128 {
    fn none(_: usize) -> Self {
        0
    }
    fn has(&self, slot: u32) -> bool {
        self >> slot & 1 == 1
    }
    fn flip(&mut self, slot: u32) {
        *self ^= 1 << slot;
    }
}

impl Mask for Box<[u64]> {
    fn none(slots: usize) -> Self {
        vec![0; slots.div_ceil(64)].into()
    }
    fn has(&self, slot: u32) -> bool {
        self[slot as usize / 64].has(slot % 64)
    }
    fn flip(&mut self, slot: u32) {
        self[slot as usize / 64].flip(slot % 64);
    }
}

struct Search<'a, M> {
    operations: &'a [Operation],
    timeline: &'a Timeline,
    is_last: bool,
    /// The configuration that is looked at: the next event, the value, what has taken effect.
    at: usize,
    value: Value,
    done: M,
    /// The operation in each slot at `at`.
    in_slot: Vec<u32>,
    tried: FxHashSet<(u32, M, Value)>,
    ends: Vec<Value>,
    /// The latest return that was reached and not explained, and the values there.
    furthest: usize,
    possible: Vec<Value>,
}

/// A configuration with operations that are still to be tried next.
struct Frame<M> {
    at: usize,
    value: Value,
    done: M,
    /// Where its operations begin in the stack of those to be tried.
    first: usize,
}

impl<'a, M: Mask> Search<'a, M> {
    fn new(operations: &'a [Operation], timeline: &'a Timeline, is_last: bool) -> Self {
        Self {
            operations,
            timeline,
            is_last,
            at: 0,
            value: 0,
            done: M::none(timeline.slots),
            in_slot: vec![NONE; timeline.slots],
            tried: FxHashSet::default(),
            ends: Vec::new(),
            furthest: 0,
            possible: Vec::new(),
        }
    }

    fn run(
        mut self,
        starts: &[Value],
        values: &mut Values,
        steps: &mut u64,
        deadline: Instant,
    ) -> Stretch {
        for start in starts {
            self.rewind(0);
            (self.value, self.done) = (*start, M::none(self.timeline.slots));
            match self.search(values, steps, deadline) {
                Some(ran_out) => return Stretch::RanOut(ran_out),
                None if self.is_last && !self.ends.is_empty() => break,
                None => {}
            }
        }
        if self.ends.is_empty() { self.stuck() } else { Stretch::Ends(self.ends) }
    }

    /// Explores everything that follows the current configuration; or says what ran out.
    fn search(
        &mut self,
        values: &mut Values,
        steps: &mut u64,
        deadline: Instant,
    ) -> Option<RanOut> {
        let mut frames: Vec<Frame<M>> = Vec::new();
        let mut to_try: Vec<u32> = Vec::new();
        loop {
            if *steps == 0 || self.tried.len() >= MEMORY {
                return Some(RanOut::Steps);
            }
            *steps -= 1;
            if steps.is_multiple_of(CLOCK_EVERY) && Instant::now() >= deadline {
                return Some(RanOut::Time);
            }
            self.settle(values);
            if self.at == self.timeline.events.len() {
                if !self.ends.contains(&self.value) {
                    self.ends.push(self.value);
                }
                if self.is_last {
                    return None;
                }
            } else if self.is_new() {
                let first = to_try.len();
                self.push_candidates(values, &mut to_try);
                let (at, value, done) = (self.at, self.value, self.done.clone());
                frames.push(Frame { at, value, done, first });
            }
            // Back to the latest configuration with something left to try.
            loop {
                let frame = frames.last()?;
                self.rewind(frame.at);
                (self.value, self.done) = (frame.value, frame.done.clone());
                if to_try.len() > frame.first {
                    break;
                }
                frames.pop();
            }
            let next = to_try.pop().expect("some are left") as usize;
            self.done.flip(self.timeline.slot_of[next]);
            let action = self.operations[next].action;
            self.value = values.after(self.value, action).expect("candidates are possible");
        }
    }

    /// Lets take effect what changes nothing, and goes on to the next return that has to be
    /// explained.
    fn settle(&mut self, values: &mut Values) {
        loop {
            self.advance();
            for slot in 0..self.in_slot.len() {
                let operation = self.in_slot[slot];
                let slot = u32::try_from(slot).expect("slots are few");
                if operation == NONE || self.done.has(slot) {
                    continue;
                }
                let action = self.operations[operation as usize].action;
                if is_pure(action) && values.after(self.value, action).is_some() {
                    self.done.flip(slot);
                }
            }
            let Some(event) = self.timeline.events.get(self.at) else { return };
            // What has just taken effect may be what the return waits for.
            if !self.done.has(self.timeline.slot_of[event.operation as usize]) {
                return;
            }
        }
    }

    /// Passes calls, and returns of what has taken effect.
    fn advance(&mut self) {
        while let Some(event) = self.timeline.events.get(self.at) {
            let slot = self.timeline.slot_of[event.operation as usize];
            if event.is_return {
                if !self.done.has(slot) {
                    return;
                }
                self.done.flip(slot);
                self.in_slot[slot as usize] = NONE;
            } else {
                self.in_slot[slot as usize] = event.operation;
            }
            self.at += 1;
        }
    }

    /// Goes back in time; the caller restores what had taken effect.
    fn rewind(&mut self, at: usize) {
        while self.at > at {
            self.at -= 1;
            let event = self.timeline.events[self.at];
            let slot = self.timeline.slot_of[event.operation as usize] as usize;
            self.in_slot[slot] = if event.is_return { event.operation } else { NONE };
        }
    }

    /// Whether this configuration was never tried before.
    fn is_new(&mut self) -> bool {
        if self.at >= self.furthest {
            if self.at > self.furthest {
                self.furthest = self.at;
                self.possible.clear();
            }
            if self.possible.len() < POSSIBLE && !self.possible.contains(&self.value) {
                self.possible.push(self.value);
            }
        }
        let at = u32::try_from(self.at).expect("fewer than four billion events");
        self.tried.insert((at, self.done.clone(), self.value))
    }

    /// What could take effect next; what has to return first is tried first.
    fn push_candidates(&self, values: &mut Values, to_try: &mut Vec<u32>) {
        let first = to_try.len();
        for (slot, operation) in (0..).zip(&self.in_slot) {
            if *operation == NONE || self.done.has(slot) {
                continue;
            }
            let twin = self.timeline.twin_of[*operation as usize];
            let twin_waits = twin != NONE && !self.done.has(self.timeline.slot_of[twin as usize]);
            let action = self.operations[*operation as usize].action;
            if !twin_waits && !is_pure(action) && values.after(self.value, action).is_some() {
                to_try.push(*operation);
            }
        }
        let return_us = |index: &u32| self.operations[*index as usize].return_us;
        to_try[first..].sort_unstable_by_key(|index| std::cmp::Reverse(return_us(index)));
    }

    fn stuck(self) -> Stretch {
        let event = self.timeline.events[self.furthest];
        let operation = event.operation as usize;
        let return_us = self.operations[operation].return_us;
        let under_way = self
            .operations
            .iter()
            .filter(|it| it.call_us <= return_us && it.return_us >= return_us);
        let from_us = under_way.map(|it| it.call_us).min().unwrap_or_default();
        Stretch::Stuck { operation, from_us, possible: self.possible }
    }
}

/// Whether it changes nothing wherever it can take effect.
fn is_pure(action: Action) -> bool {
    matches!(action, Action::Get(_) | Action::Cas { told: Some(Cas::Mismatch(_)), .. })
}
