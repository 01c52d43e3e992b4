//! What a search tries next, and what it need not try.

use super::{Action, Cas, Choice, Kind, Mask, NONE, Search, Value, builds_on, writes};

/// What operations under way are to see, and what they can write.
#[derive(Default)]
pub struct Around {
    awaited: Vec<Awaited>,
    /// Whether somebody is to build on any value.
    any_is_awaited: bool,
    /// What can be written, and by which operation.
    written: Vec<(Value, u32)>,
    candidates: Vec<Candidate>,
}

/// An operation under way has yet to meet a value.
struct Awaited {
    value: Value,
    index: u32,
    /// When it returns, as a place among the events; never, if it need not.
    until: u32,
}

/// An operation that can take effect next.
struct Candidate {
    index: u32,
    action: Action,
    /// Whether it is put for others than what returns next.
    is_detour: bool,
    return_us: u64,
}

impl<M: Mask> Search<'_, '_, M> {
    /// What can be tried next. What is most likely to be right comes last.
    pub(super) fn push_choices(&mut self, in_vain: bool, to_try: &mut Vec<Choice>) {
        let next = self.timeline.events[self.at].operation;
        self.look_around();
        if self.is_lost() {
            return;
        }
        let mut candidates = std::mem::take(&mut self.around.candidates);
        candidates.clear();
        let needed = self.sights.meets(next);
        for place in 0..self.in_slot.len() + self.open.len() {
            let (index, is_over) = match place.checked_sub(self.in_slot.len()) {
                None => {
                    let index = self.in_slot[place];
                    (index, index == NONE || self.state.spent.has(place as u32))
                }
                Some(open) => (self.open[open], self.is_used_or_twin_waits(self.open[open])),
            };
            if is_over {
                continue;
            }
            let Some(after) = self.may_follow(index, next, in_vain) else { continue };
            let operation = self.operations[index as usize];
            candidates.push(Candidate {
                index,
                action: operation.action,
                is_detour: self.kinds[index as usize] != Kind::Bound
                    && index != next
                    && needed != Some(after),
                return_us: operation.return_us,
            });
        }
        candidates.sort_unstable_by_key(|it| (it.return_us, it.index));
        if self.has_equals {
            self.keep_first_of_equals(&mut candidates);
        }
        candidates.sort_by_key(|it| it.is_detour);
        to_try.extend(candidates.iter().rev().map(|it| Choice::Takes(it.index)));
        self.around.candidates = candidates;
    }

    /// A put that returns next, and may have taken effect where nobody saw it, passes or shows.
    pub(super) fn push_chances(&mut self, to_try: &mut Vec<Choice>) {
        let next = self.timeline.events[self.at].operation;
        self.look_around();
        if self.is_lost() {
            return;
        }
        let value = self.put_by(next);
        // It costs nothing to make what is there.
        let passes = value != self.value && !self.must_stay(value, next);
        let is_awaited = self.around.awaited.iter().any(|it| it.value == value);
        if passes && is_awaited {
            to_try.push(Choice::Passes);
        }
        to_try.push(Choice::Shows);
        if passes && !is_awaited {
            to_try.push(Choice::Passes);
        }
    }

    fn is_used_or_twin_waits(&self, index: u32) -> bool {
        let is_used = |index: u32| self.state.used.has(self.timeline.slot_of[index as usize]);
        let twin = self.timeline.twin_of[index as usize];
        is_used(index) || (twin != NONE && !is_used(twin) && !self.waits(twin))
    }

    /// Of candidates that do the same, all but the first to return are left out. One that another
    /// one waits for stays.
    fn keep_first_of_equals(&self, candidates: &mut Vec<Candidate>) {
        let mut kept = 0;
        for place in 0..candidates.len() {
            let Candidate { index, action, .. } = candidates[place];
            let is_known = candidates[..kept].iter().any(|it| it.action == action);
            if !is_known || self.timeline.is_followed[index as usize] {
                candidates.swap(kept, place);
                kept += 1;
            }
        }
        candidates.truncate(kept);
    }

    /// The value after an operation, if it can take effect now and is not pointless.
    fn may_follow(&mut self, index: u32, next: u32, in_vain: bool) -> Option<Value> {
        let kind = self.kinds[index as usize];
        let action = self.operations[index as usize].action;
        if kind == Kind::Pure || (in_vain && !builds_on(action)) || self.waits(index) {
            return None;
        }
        if self.sights.meets(index).is_some_and(|value| value != self.value) {
            return None;
        }
        let after = self.values.after(self.value, action)?;
        let is_put = matches!(action, Action::Put(_) | Action::Delete);
        if is_put && after != self.value && self.state.early.seen_after > 0 {
            return None;
        }
        if index != next && matches!(kind, Kind::Put | Kind::Open) {
            let is_awaited = self.around.any_is_awaited
                || self.around.awaited.iter().any(|it| it.value == after);
            // To make what is there may still help others that may have been put just before.
            let helps = after != self.value || self.is_any_put_owed();
            if !helps || !is_awaited {
                return None;
            }
        }
        (after == self.value || !self.must_stay(self.value, index)).then_some(after)
    }

    /// Looks at what is under way.
    fn look_around(&mut self) {
        let around = &mut self.around;
        around.awaited.clear();
        around.written.clear();
        around.any_is_awaited = false;
        for (slot, index) in (0..).zip(&self.in_slot) {
            if *index == NONE || self.state.spent.has(slot) {
                continue;
            }
            let is_owed = self.state.owed.has(slot);
            if !is_owed && self.kinds[*index as usize] != Kind::Put {
                continue;
            }
            let operation = &self.operations[*index as usize];
            let until = self.timeline.returned[*index as usize];
            around.add(*index, operation.action, until, self.sights.meets(*index));
        }
        for index in &self.open {
            if !self.state.used.has(self.timeline.slot_of[*index as usize]) {
                let action = self.operations[*index as usize].action;
                let meets = match action {
                    Action::Cas { expected, .. } => Some(expected),
                    _ => self.sights.meets(*index),
                };
                around.add(*index, action, NONE, meets);
            }
        }
    }

    /// Whether somebody under way is to see what will not come in time.
    fn is_lost(&self) -> bool {
        let at = self.at as u32;
        self.around.awaited.iter().any(|it| {
            it.until != NONE
                && it.value != self.value
                && !self.around.written.iter().any(|(value, _)| *value == it.value)
                && !self.sights.comes(it.value, at, it.until)
        })
    }

    /// Whether `value` may not be left, nor not be made, by the operation `index`: somebody else
    /// must still see it, and it will not come again in time.
    fn must_stay(&self, value: Value, index: u32) -> bool {
        if self.sights.hold(value, index) {
            return true;
        }
        let at = self.at as u32;
        let waiting =
            self.around.awaited.iter().filter(|it| it.value == value && it.index != index);
        let needed_by = waiting.map(|it| it.until).chain(self.sights.needed_by(value, at));
        let Some(until) = needed_by.min().filter(|until| *until != NONE) else { return false };
        let can_be_written = self
            .around
            .written
            .iter()
            .any(|(written, by)| (*written, *by != index) == (value, true));
        !can_be_written && !self.sights.comes(value, at, until)
    }
}

impl Around {
    fn add(&mut self, index: u32, action: Action, until: u32, meets: Option<Value>) {
        match meets {
            Some(value) => self.awaited.push(Awaited { value, index, until }),
            None => {
                self.any_is_awaited |= matches!(
                    action,
                    Action::Append(_) | Action::Cas { told: Some(Cas::Mismatch(None)), .. }
                );
            }
        }
        let is_still = matches!(action, Action::Cas { expected, new, .. } if expected == new);
        if let Some(value) = writes(action).filter(|_| !is_still) {
            self.written.push((value, index));
        }
    }
}
