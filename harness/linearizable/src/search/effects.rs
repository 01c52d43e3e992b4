//! What becomes of a configuration when an operation takes effect.

use super::{Action, Choice, Early, Kind, Mask, NONE, Search};

impl<M: Mask> Search<'_, '_, M> {
    /// Does what was chosen; whether somebody has to see that at once.
    pub(super) fn choose(&mut self, choice: Choice) -> bool {
        let index = self.timeline.events[self.at].operation;
        let slot = self.timeline.slot_of[index as usize];
        match choice {
            Choice::Passes => self.state.spent.set(slot, true),
            Choice::Shows => self.state.owed.set(slot, true),
            Choice::Takes(index) => return self.take_effect(index),
        }
        false
    }

    /// An operation takes effect; whether somebody has to see that at once.
    fn take_effect(&mut self, index: u32) -> bool {
        let action = self.operations[index as usize].action;
        let slot = self.timeline.slot_of[index as usize];
        self.value = self.values.after(self.value, action).expect("choices are possible");
        if matches!(action, Action::Put(_) | Action::Delete) {
            self.hide_puts();
        }
        let kind = self.kinds[index as usize];
        match kind {
            Kind::Open => self.state.used.set(slot, true),
            Kind::Pure => self.state.owed.set(slot, false),
            Kind::Put | Kind::Bound => {
                self.state.owed.set(slot, false);
                self.state.spent.set(slot, true);
            }
        }
        self.note_if_early(index);
        self.sights.saw(index);
        self.order.push(index);
        let returns = self.timeline.events[self.at].operation == index;
        kind == Kind::Open || (kind == Kind::Put && !returns)
    }

    /// Of puts that take effect for one return, only the last one is needed for it. The others
    /// might as well come after it and its reads, unless somebody sees its value who is called when
    /// it is too late for one of them. That holds where nothing else builds on what is put.
    fn note_if_early(&mut self, index: u32) {
        let until = self.timeline.returned[index as usize];
        let early = &mut self.state.early;
        match self.operations[index as usize].action {
            Action::Put(_) | Action::Delete => {
                if early.puts > 0 {
                    early.until = early.until.max(early.last_until);
                }
                early.puts = (early.puts + 1).min(2);
                early.last_until = until;
            }
            _ if self.kinds[index as usize] == Kind::Pure => {
                early.last_until = early.last_until.min(until);
                if self.timeline.called[index as usize] > early.seen_after {
                    early.seen_after = 0;
                }
            }
            _ => (early.is_mixed, early.seen_after) = (true, 0),
        }
    }

    /// The next return is explained.
    pub(super) fn end_early(&mut self) {
        let Early { seen_after, puts, is_mixed, until, .. } = self.state.early;
        let is_early = puts > 1 && !is_mixed && !self.touches;
        let seen_after = if is_early { until } else { seen_after };
        self.state.early = Early { seen_after, ..Early::default() };
    }

    /// Something is put: whatever else could be put may have been, just before. But what returns
    /// next would not be what is waited for, then.
    fn hide_puts(&mut self) {
        let next = self.timeline.events[self.at].operation;
        for slot in 0..self.in_slot.len() {
            let index = self.in_slot[slot];
            let is_put = index != NONE && self.kinds[index as usize] == Kind::Put;
            if is_put && index != next && !self.waits(index) {
                self.state.owed.set(slot as u32, false);
            }
        }
    }

    /// Whether the last operation of the same process has to take effect first.
    pub(super) fn waits(&self, index: u32) -> bool {
        let last = self.timeline.after[index as usize];
        if last == NONE {
            return false;
        }
        let slot = self.timeline.slot_of[last as usize];
        self.in_slot[slot as usize] == last && self.state.owed.has(slot)
    }

    /// Whether an operation that another one waits for took effect.
    pub(super) fn take_what_changes_nothing(&mut self) -> bool {
        let next = self.timeline.events.get(self.at).map_or(NONE, |event| event.operation);
        let mut frees = false;
        for slot in 0..self.in_slot.len() {
            let index = self.in_slot[slot];
            if index == NONE || !self.state.owed.has(slot as u32) || self.waits(index) {
                continue;
            }
            let action = self.operations[index as usize].action;
            match self.kinds[index as usize] {
                Kind::Pure if self.values.after(self.value, action).is_some() => {
                    self.take_effect(index);
                    frees |= self.timeline.is_followed[index as usize];
                }
                Kind::Put
                    if index != next
                        && self.values.after(self.value, action) == Some(self.value) =>
                {
                    self.state.owed.set(slot as u32, false);
                }
                _ => {}
            }
        }
        frees
    }
}
