//! Search for an order: Wing & Gong's algorithm with Lowe's memory of what was tried (Wing & Gong
//! 1993; Lowe 2017, section 3), one configuration for each return that has to be explained.
//!
//! A configuration is a return, the value before it, and which of the operations under way have
//! taken effect; what came before is settled, so configurations stay small however long the history
//! is. What keeps the search short:
//!
//! - Reads, and compare-and-sets that failed, take effect as soon as the value fits: that never
//!   hurts, since they change nothing.
//! - A value that only one operation could make, and that somebody is still to see, is not left.
//! - An operation that never returned takes effect only where somebody sees it, and of two
//!   configurations that differ in nothing but such operations, the one that used fewer can do all
//!   that the other can.
//! - Of operations under way that do the same, the one that returns first takes effect first: any
//!   order in which another one does stays one when the two change places.

use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    ABSENT, Action, Cas, NEVER, Operation, Stretch, Value,
    seen::Seen,
    sights::Sights,
    timeline::{Event, Mask, NONE, Timeline},
    values::Grown,
};

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
    seen: &mut Seen,
    values: &mut Grown<'_>,
    is_last: bool,
    steps: &mut u64,
    deadline: Instant,
) -> Stretch {
    let timeline = Timeline::new(operations);
    match timeline.slots.max(timeline.open) {
        ..=128 => Search::<u128>::new(operations, &timeline, starts, (seen, values), is_last)
            .run(starts, steps, deadline),
        _ => Search::<Box<[u128]>>::new(operations, &timeline, starts, (seen, values), is_last)
            .run(starts, steps, deadline),
    }
}

struct Search<'a, 'v, M> {
    operations: &'a [Operation],
    timeline: &'a Timeline,
    is_last: bool,
    seen: &'a mut Seen,
    values: &'a mut Grown<'v>,
    /// Where the search is: the next event and the value before it.
    at: usize,
    value: Value,
    /// Which of the operations under way have taken effect, and which of those that never return.
    done: M,
    used: M,
    /// The operation in each slot at `at`, and those called by then that never return.
    in_slot: Vec<u32>,
    open: Vec<u32>,
    /// Everything that has taken effect, in order.
    order: Vec<u32>,
    sights: Sights,
    /// Whether any two operations that returned do the same.
    has_equals: bool,
    /// By return, operations done and value: the sets of operations that never returned with which
    /// it was tried.
    tried: FxHashMap<(u32, M, Value), Vec<M>>,
    remembered: usize,
    ends: Vec<Value>,
    /// The latest return that was reached and not explained, and the values there.
    furthest: usize,
    possible: Vec<Value>,
}

/// Steps, memory or time ran out.
struct RanOut;

/// A configuration with operations that are still to be tried next.
struct Frame<M> {
    at: usize,
    value: Value,
    done: M,
    used: M,
    /// How much had taken effect.
    order: usize,
    /// Where its operations begin in the stack of those to be tried.
    first: usize,
}

impl<'a, 'v, M: Mask> Search<'a, 'v, M> {
    fn new(
        operations: &'a [Operation],
        timeline: &'a Timeline,
        starts: &[Value],
        (seen, values): (&'a mut Seen, &'a mut Grown<'v>),
        is_last: bool,
    ) -> Self {
        Self {
            operations,
            timeline,
            is_last,
            at: 0,
            value: ABSENT,
            done: M::none(timeline.slots),
            used: M::none(timeline.open),
            in_slot: vec![NONE; timeline.slots],
            open: Vec::new(),
            order: Vec::new(),
            sights: Sights::new(operations, starts, values),
            has_equals: has_equals(operations),
            seen,
            values,
            tried: FxHashMap::default(),
            remembered: 0,
            ends: Vec::new(),
            furthest: 0,
            possible: Vec::new(),
        }
    }

    fn run(mut self, starts: &[Value], steps: &mut u64, deadline: Instant) -> Stretch {
        for start in starts {
            self.rewind(0, 0);
            self.value = *start;
            (self.done, self.used) = (M::none(self.timeline.slots), M::none(self.timeline.open));
            if self.search(steps, deadline).is_err() {
                return Stretch::RanOut;
            }
            if self.is_last && !self.ends.is_empty() {
                break;
            }
        }
        if self.ends.is_empty() { self.stuck() } else { Stretch::Ends(self.ends) }
    }

    /// Explores everything that follows the current configuration.
    fn search(&mut self, steps: &mut u64, deadline: Instant) -> Result<(), RanOut> {
        let mut frames: Vec<Frame<M>> = Vec::new();
        let mut to_try: Vec<u32> = Vec::new();
        // Whether somebody has to see the value, or what made it was made in vain.
        let mut in_vain = false;
        loop {
            if *steps == 0 || self.remembered >= MEMORY {
                return Err(RanOut);
            }
            *steps -= 1;
            if steps.is_multiple_of(CLOCK_EVERY) && Instant::now() >= deadline {
                return Err(RanOut);
            }
            in_vain &= !self.settle();
            if self.at == self.timeline.events.len() {
                if !self.ends.contains(&self.value) {
                    self.ends.push(self.value);
                }
                if self.is_last {
                    return Ok(());
                }
            } else if self.is_new() {
                let first = to_try.len();
                self.push_candidates(in_vain, &mut to_try);
                let (at, value, order) = (self.at, self.value, self.order.len());
                let (done, used) = (self.done.clone(), self.used.clone());
                frames.push(Frame { at, value, done, used, order, first });
            }
            // Back to the latest configuration with something left to try.
            loop {
                let Some(frame) = frames.last() else { return Ok(()) };
                let order = frame.order;
                self.value = frame.value;
                (self.done, self.used) = (frame.done.clone(), frame.used.clone());
                self.rewind(frame.at, order);
                if to_try.len() > frame.first {
                    break;
                }
                frames.pop();
            }
            let next = to_try.pop().expect("some are left");
            let action = self.operations[next as usize].action;
            self.value = self.after(action).expect("candidates are possible");
            in_vain = self.take_effect(next);
        }
    }

    /// The value after `action` here, if it is possible.
    fn after(&mut self, action: Action) -> Option<Value> {
        let after = self.values.after(self.value, action)?;
        Some(self.seen.or_unseen(after, self.values))
    }

    /// Marks an operation; whether it never returned.
    fn take_effect(&mut self, index: u32) -> bool {
        let operation = &self.operations[index as usize];
        let slot = self.timeline.slot_of[index as usize];
        let never_returned = operation.return_us == NEVER;
        if never_returned { &mut self.used } else { &mut self.done }.flip(slot);
        self.sights.saw(index);
        self.order.push(index);
        never_returned
    }

    /// Lets take effect what changes nothing, and goes on to the next return that has to be
    /// explained. Whether anything took effect.
    fn settle(&mut self) -> bool {
        let before = self.order.len();
        loop {
            self.advance();
            for slot in 0..self.in_slot.len() {
                let index = self.in_slot[slot];
                if index == NONE || self.done.has(u32::try_from(slot).expect("slots are few")) {
                    continue;
                }
                let action = self.operations[index as usize].action;
                if is_pure(action) && self.after(action).is_some() {
                    self.take_effect(index);
                }
            }
            // What has just taken effect may be what the return waits for.
            match self.timeline.events.get(self.at) {
                Some(event) if self.done.has(self.timeline.slot_of[event.operation as usize]) => {}
                _ => return self.order.len() > before,
            }
        }
    }

    /// Passes calls, and returns of what has taken effect.
    fn advance(&mut self) {
        while let Some(Event { operation, is_return }) = self.timeline.events.get(self.at).copied()
        {
            let slot = self.timeline.slot_of[operation as usize];
            if is_return {
                if !self.done.has(slot) {
                    return;
                }
                self.done.flip(slot);
                self.in_slot[slot as usize] = NONE;
            } else if self.operations[operation as usize].return_us == NEVER {
                self.open.push(operation);
            } else {
                self.in_slot[slot as usize] = operation;
            }
            self.at += 1;
        }
    }

    /// Goes back to when `order` operations had taken effect; the caller restores which.
    fn rewind(&mut self, at: usize, order: usize) {
        while self.at > at {
            self.at -= 1;
            let Event { operation, is_return } = self.timeline.events[self.at];
            let slot = self.timeline.slot_of[operation as usize] as usize;
            if is_return {
                self.in_slot[slot] = operation;
            } else if self.operations[operation as usize].return_us == NEVER {
                self.open.pop();
            } else {
                self.in_slot[slot] = NONE;
            }
        }
        for index in self.order.drain(order..) {
            self.sights.unsaw(index);
        }
    }

    /// Whether nothing that was tried before can do all that this configuration can.
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
        let tried = self.tried.entry((at, self.done.clone(), self.value)).or_default();
        if tried.iter().any(|used| used.is_within(&self.used)) {
            return false;
        }
        tried.push(self.used.clone());
        self.remembered += 1;
        true
    }

    /// What could take effect next; what has to return first is tried first.
    fn push_candidates(&mut self, in_vain: bool, to_try: &mut Vec<u32>) {
        let first = to_try.len();
        for slot in 0..self.in_slot.len() {
            let index = self.in_slot[slot];
            let is_done = index == NONE || self.done.has(slot as u32);
            if !is_done && self.may_follow(index, in_vain) {
                to_try.push(index);
            }
        }
        let return_us = |index: &u32| self.operations[*index as usize].return_us;
        to_try[first..].sort_unstable_by_key(|index| std::cmp::Reverse(return_us(index)));
        if self.has_equals {
            self.keep_first_of_equals(first, to_try);
        }
        let returning = to_try.len();
        for open in 0..self.open.len() {
            let index = self.open[open];
            let twin = self.timeline.twin_of[index as usize];
            let twin_waits = twin != NONE && !self.used.has(self.timeline.slot_of[twin as usize]);
            let is_used = self.used.has(self.timeline.slot_of[index as usize]);
            if !twin_waits && !is_used && self.may_follow(index, in_vain) {
                to_try.push(index);
            }
        }
        // Tried last.
        to_try[first..].rotate_left(returning - first);
    }

    /// Of the candidates from `first` on, the last to return first, keeps one for each action.
    fn keep_first_of_equals(&self, first: usize, to_try: &mut Vec<u32>) {
        let mut known = FxHashSet::default();
        let candidates = to_try.split_off(first);
        let is_first = |index: &u32| known.insert(self.operations[*index as usize].action);
        to_try.extend(candidates.into_iter().rev().filter(is_first));
        to_try[first..].reverse();
    }

    /// Whether an operation can take effect now and is not pointless.
    fn may_follow(&mut self, index: u32, in_vain: bool) -> bool {
        let operation = &self.operations[index as usize];
        let action = operation.action;
        if is_pure(action) || (in_vain && !builds_on(action)) {
            return false;
        }
        let Some(after) = self.after(action) else { return false };
        if operation.return_us == NEVER && after == self.value {
            return false;
        }
        let meets_it = self.sights.meets(index).is_none_or(|value| value == self.value);
        meets_it && (after == self.value || !self.sights.hold(self.value, index))
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

/// Whether any two operations that returned, and that change something, do the same.
fn has_equals(operations: &[Operation]) -> bool {
    let mut known = FxHashSet::default();
    let returned = operations.iter().filter(|it| it.return_us != NEVER && !is_pure(it.action));
    !returned.map(|it| it.action).all(|action| known.insert(action))
}

/// Whether it changes nothing wherever it can take effect.
fn is_pure(action: Action) -> bool {
    matches!(action, Action::Get(_) | Action::Cas { told: Some(Cas::Mismatch(_)), .. })
}

/// Whether what it does depends on the value before.
fn builds_on(action: Action) -> bool {
    matches!(action, Action::Append(_) | Action::Cas { .. })
}
