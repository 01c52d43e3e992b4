//! Search for an order: Wing & Gong's algorithm with Lowe's memory of what was tried (Wing & Gong
//! 1993; Lowe 2017, section 3), one configuration for each return that has to be explained.
//!
//! Every order can be changed so that each operation takes effect as late as possible: when
//! something returns that needs it. A configuration is a return, the value before it, and which of
//! the operations under way have taken effect; what came before is settled, so configurations stay
//! small however long the history is. What keeps the search short:
//!
//! - Reads, and compare-and-sets that failed, take effect as soon as the value fits: that never
//!   hurts, since they change nothing.
//! - A put need not be seen: it may have taken effect just before another one did. So when one
//!   takes effect, all others under way may have as well, and are free to do it once more until
//!   they return. One that somebody might still see is given both chances when it returns.
//! - What somebody is still to see is not left unless it can come back in time, and what nobody
//!   under way is to see is not made before it must be.
//! - An operation that never returned takes effect only where somebody sees it.
//! - Of two configurations, the one with fewer operations that are used up or have yet to take
//!   effect can do all that the other can.
//! - Of several puts for one return, all but the last might come later, unless somebody who is
//!   called too late for that sees what the last one made.
//! - Of operations under way that do the same, the one that returns first takes effect first: any
//!   order in which another one does stays one when the two change places.

mod choices;
mod effects;

use std::time::Instant;

use rustc_hash::FxHashSet;

use self::choices::Around;
use super::{
    ABSENT, Action, Cas, Limits, NEVER, Operation, RanOut, Stretch, Value,
    grown::Grown,
    sights::{Sights, writes},
    timeline::{Event, Mask, NONE, Timeline},
    tried::{Early, Full, State, Tried},
};

/// After how many steps the clock is looked at.
const CLOCK_EVERY: u64 = 4096;

/// Decides a stretch that starts with any of `starts`. Unless it `is_last`, every value that it can
/// end with is found. `touches` says whether operations of one process touch.
pub fn decide(
    operations: &[Operation],
    starts: &[Value],
    values: &mut Grown<'_>,
    is_last: bool,
    touches: bool,
    limits: &mut Limits,
) -> Stretch {
    let timeline = &Timeline::new(operations, touches);
    match timeline.slots.max(timeline.open) {
        0..=64 => {
            Search::<u64>::new(operations, timeline, starts, values, is_last).run(starts, limits)
        }
        65..=128 => {
            Search::<u128>::new(operations, timeline, starts, values, is_last).run(starts, limits)
        }
        _ => Search::<Box<[u128]>>::new(operations, timeline, starts, values, is_last)
            .run(starts, limits),
    }
}

/// How an operation takes effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It changes nothing wherever it can take effect.
    Pure,
    /// It puts or deletes, whatever the value was.
    Put,
    /// What it does depends on the value, or it has to come before another one.
    Bound,
    /// It never returned.
    Open,
}

struct Search<'a, 'v, M> {
    operations: &'a [Operation],
    timeline: &'a Timeline,
    kinds: Vec<Kind>,
    is_last: bool,
    /// From when on nothing is called that changes the value, as a place among the events.
    last_change: u32,
    values: &'a mut Grown<'v>,
    /// Where the search is: the next event and the value before it.
    at: usize,
    value: Value,
    state: State<M>,
    /// The operation in each slot at `at`, and those called by then that never return.
    in_slot: Vec<u32>,
    open: Vec<u32>,
    /// The slots of those that are [`Kind::Bound`].
    bound: M,
    /// Everything that has taken effect, in order.
    order: Vec<u32>,
    sights: Sights,
    /// Whether any two operations that change something do the same.
    has_equals: bool,
    /// What somebody may build on who need not: any value, or one of these.
    builds_on_any: bool,
    /// Whether operations of one process touch.
    touches: bool,
    built_on: Vec<Value>,
    tried: Tried<M>,
    ends: Vec<Value>,
    around: Around,
}

/// A configuration with operations that are still to be tried next.
struct Frame<M> {
    at: usize,
    value: Value,
    state: State<M>,
    /// How much had taken effect.
    order: usize,
    /// Where its choices begin in the stack of those to be tried.
    first: usize,
}

/// What can be tried next.
#[derive(Clone, Copy)]
enum Choice {
    /// The operation takes effect.
    Takes(u32),
    /// The put that returns next has taken effect where nobody saw it.
    Passes,
    /// It is still to take effect, and stays until something else does.
    Shows,
}

impl<'a, 'v, M: Mask> Search<'a, 'v, M> {
    fn new(
        operations: &'a [Operation],
        timeline: &'a Timeline,
        starts: &[Value],
        values: &'a mut Grown<'v>,
        is_last: bool,
    ) -> Self {
        let kind = |(operation, is_followed): (&Operation, &bool)| match operation.action {
            _ if operation.return_us == NEVER => Kind::Open,
            action if is_pure(action) => Kind::Pure,
            Action::Put(_) | Action::Delete if !is_followed => Kind::Put,
            _ => Kind::Bound,
        };
        let kinds: Vec<Kind> = operations.iter().zip(&timeline.is_followed).map(kind).collect();
        let changes = |index: &usize| !matches!(kinds[*index], Kind::Pure | Kind::Open);
        let last_change = (0..operations.len()).rev().find(changes);
        Self {
            operations,
            timeline,
            is_last,
            last_change: last_change.map_or(0, |index| timeline.called[index]),
            kinds,
            at: 0,
            value: ABSENT,
            state: State {
                spent: M::none(timeline.slots),
                owed: M::none(timeline.slots),
                used: M::none(timeline.open),
                early: Early::default(),
            },
            in_slot: vec![NONE; timeline.slots],
            open: Vec::new(),
            bound: M::none(timeline.slots),
            order: Vec::new(),
            sights: Sights::new(operations, timeline, starts, values),
            has_equals: has_equals(operations),
            touches: timeline.is_followed.contains(&true),
            builds_on_any: operations.iter().any(builds_on_any),
            built_on: operations.iter().filter_map(built_on).collect(),
            values,
            tried: Tried::new(timeline.slots, timeline.open),
            ends: Vec::new(),
            around: Around::default(),
        }
    }

    fn run(mut self, starts: &[Value], limits: &mut Limits) -> Stretch {
        let state = self.state.clone();
        for start in starts {
            self.rewind(0, 0);
            (self.value, self.state) = (*start, state.clone());
            if let Err(ran_out) = self.search(limits) {
                return Stretch::RanOut(ran_out);
            }
            if self.is_last && !self.ends.is_empty() {
                break;
            }
        }
        if self.ends.is_empty() { Stretch::Impossible } else { Stretch::Ends(self.ends) }
    }

    /// Explores everything that follows the current configuration.
    fn search(&mut self, limits: &mut Limits) -> Result<(), RanOut> {
        let mut frames: Vec<Frame<M>> = Vec::new();
        let mut to_try: Vec<Choice> = Vec::new();
        // Whether somebody has to see the value, or what made it was made in vain.
        let mut in_vain = false;
        loop {
            limits.steps = limits.steps.checked_sub(1).ok_or(RanOut::Steps)?;
            if limits.steps.is_multiple_of(CLOCK_EVERY) && Instant::now() >= limits.deadline {
                return Err(RanOut::Time);
            }
            in_vain &= !self.settle();
            let first = to_try.len();
            if self.at == self.timeline.events.len() {
                if !self.ends.contains(&self.value) {
                    self.ends.push(self.value);
                }
                if self.is_last {
                    return Ok(());
                }
            } else if self.is_new(limits, frames.len()).map_err(|Full| RanOut::Memory)? {
                match self.next_is_owed() {
                    true => self.push_choices(in_vain, &mut to_try),
                    false => self.push_chances(&mut to_try),
                }
            }
            if to_try.len() > first {
                let (at, value, order) = (self.at, self.value, self.order.len());
                frames.push(Frame { at, value, state: self.state.clone(), order, first });
            }
            // Back to the latest configuration with something left to try: one that has nothing
            // left is not kept.
            let Some(next) = to_try.pop() else { return Ok(()) };
            let frame = frames.last().expect("whatever is to be tried belongs to one");
            let (at, order) = (frame.at, frame.order);
            (self.value, self.state) = (frame.value, frame.state.clone());
            if to_try.len() == frame.first {
                frames.pop();
            }
            self.rewind(at, order);
            in_vain = self.choose(next);
        }
    }

    /// Whether what returns next has yet to take effect, and not only another chance to be seen.
    fn next_is_owed(&self) -> bool {
        let next = self.timeline.events[self.at].operation;
        self.state.owed.has(self.timeline.slot_of[next as usize])
    }

    /// Whether nothing that was tried before can do all that this configuration can.
    fn is_new(&mut self, limits: &Limits, frames: usize) -> Result<bool, Full> {
        let at = u32::try_from(self.at).expect("fewer than four billion events");
        // One more chance is better than none, but what comes of taking it is not tried yet.
        let place = (
            2 * at + u32::from(self.next_is_owed()),
            self.value,
            self.state.spent.both(&self.bound),
        );
        let others = self.values.bytes() + frames * size_of::<Frame<M>>();
        let room_bytes = limits.memory_bytes.saturating_sub(others);
        self.tried.is_new(place, self.state.clone(), room_bytes)
    }

    /// Lets take effect what changes nothing, and goes on to the next return that has to be
    /// explained. Whether anything was seen.
    fn settle(&mut self) -> bool {
        let before = self.order.len();
        loop {
            self.advance();
            while self.take_what_changes_nothing() {}
            // What has just taken effect may be what the return waits for.
            match self.timeline.events.get(self.at) {
                Some(event) if self.may_return(event.operation) => {}
                _ => return self.order.len() > before,
            }
        }
    }

    /// Passes calls, and returns of what has taken effect.
    fn advance(&mut self) {
        while let Some(Event { operation, is_return }) = self.timeline.events.get(self.at).copied()
        {
            let slot = self.timeline.slot_of[operation as usize];
            let is_bound = self.kinds[operation as usize] == Kind::Bound;
            if is_return {
                if !self.may_return(operation) {
                    return;
                }
                self.state.spent.set(slot, false);
                self.bound.set(slot, false);
                self.in_slot[slot as usize] = NONE;
                self.end_early();
            } else if self.operations[operation as usize].return_us == NEVER {
                self.open.push(operation);
            } else {
                self.in_slot[slot as usize] = operation;
                self.state.owed.set(slot, true);
                self.bound.set(slot, is_bound);
            }
            self.at += 1;
        }
    }

    /// Whether the next operation to return may do so without anything being tried.
    fn may_return(&self, index: u32) -> bool {
        let slot = self.timeline.slot_of[index as usize];
        !self.state.owed.has(slot)
            && (self.kinds[index as usize] != Kind::Put
                || self.state.spent.has(slot)
                || !self.might_be_seen(index))
    }

    /// Whether it might make a difference that a put takes effect only when it returns: somebody
    /// sees what it made, or others may have taken effect just before.
    fn might_be_seen(&self, index: u32) -> bool {
        let value = self.put_by(index);
        let is_end = !self.is_last && self.timeline.returned[index as usize] > self.last_change;
        let may_be_built_on = self.builds_on_any || self.built_on.contains(&value);
        is_end
            || may_be_built_on
            || self.sights.is_awaited(value)
            || (value == self.value && self.is_any_put_owed())
    }

    /// The value that a put leaves.
    fn put_by(&self, index: u32) -> Value {
        let value = writes(self.operations[index as usize].action);
        value.map_or(self.value, |value| self.values.or_unseen(value))
    }

    fn is_any_put_owed(&self) -> bool {
        let is_put = |index: u32| index != NONE && self.kinds[index as usize] == Kind::Put;
        (0..).zip(&self.in_slot).any(|(slot, index)| is_put(*index) && self.state.owed.has(slot))
    }

    /// Goes back to when `order` operations had taken effect; the caller restores the state.
    fn rewind(&mut self, at: usize, order: usize) {
        while self.at > at {
            self.at -= 1;
            let Event { operation, is_return } = self.timeline.events[self.at];
            let slot = self.timeline.slot_of[operation as usize];
            if is_return {
                self.in_slot[slot as usize] = operation;
                self.bound.set(slot, self.kinds[operation as usize] == Kind::Bound);
            } else if self.operations[operation as usize].return_us == NEVER {
                self.open.pop();
            } else {
                self.in_slot[slot as usize] = NONE;
                self.bound.set(slot, false);
            }
        }
        for index in self.order.drain(order..) {
            self.sights.unsaw(index);
        }
    }
}

/// Whether any two operations that change something do the same.
fn has_equals(operations: &[Operation]) -> bool {
    let mut known = FxHashSet::default();
    let changes = operations.iter().filter(|it| !is_pure(it.action));
    !changes.map(|it| it.action).all(|action| known.insert(action))
}

/// Whether an operation may need a value without saying which.
fn builds_on_any(operation: &Operation) -> bool {
    matches!(
        operation.action,
        Action::Append(_) | Action::Cas { told: Some(Cas::Mismatch(None)), .. }
    )
}

/// The value that an operation changes if it takes effect, which it need not.
fn built_on(operation: &Operation) -> Option<Value> {
    match operation.action {
        Action::Cas { expected, .. } if operation.return_us == NEVER => Some(expected),
        _ => None,
    }
}

/// Whether it changes nothing wherever it can take effect.
fn is_pure(action: Action) -> bool {
    match action {
        Action::Get(_) | Action::Cas { told: Some(Cas::Mismatch(_)), .. } => true,
        Action::Cas { expected, new, .. } => expected == new,
        _ => false,
    }
}

/// Whether what it does depends on the value before.
fn builds_on(action: Action) -> bool {
    matches!(action, Action::Append(_) | Action::Cas { .. })
}
