//! The configurations that were tried, in bounded memory.

use std::mem::size_of;

use rustc_hash::FxHashMap;

use super::{Value, timeline::Mask};

/// What of a configuration may differ while one can do all that another can.
#[derive(Clone)]
pub struct State<M> {
    /// Which of the operations under way can make no value any more.
    pub spent: M,
    /// Which of them have to take effect before they return.
    pub owed: M,
    /// Which of those that never return have taken effect.
    pub used: M,
    /// What was put before its time.
    pub early: Early,
}

/// What was put where it need not have been yet: the value that comes after it has to be seen by
/// somebody who is called too late for the other order. Times are places among the events.
#[derive(Clone, Copy, Default)]
pub struct Early {
    /// After when the value has to be seen by somebody before it is left; 0 if it need not be.
    pub seen_after: u32,
    /// How many puts took effect for the next return, and whether anything else did.
    pub puts: u8,
    pub is_mixed: bool,
    /// When the first of those returns that the last put and its reads are, and the latest such
    /// time for the puts before it.
    pub last_until: u32,
    pub until: u32,
}

impl Early {
    fn can_do_all_of(self, other: Self) -> bool {
        self.seen_after <= other.seen_after
            && self.puts <= other.puts
            && self.is_mixed >= other.is_mixed
            && self.last_until <= other.last_until
            && self.until <= other.until
    }
}

impl<M: Mask> State<M> {
    /// Whether this one can do all that `other` can.
    fn can_do_all_of(&self, other: &Self) -> bool {
        self.spent.is_within(&other.spent)
            && self.owed.is_within(&other.owed)
            && self.used.is_within(&other.used)
            && self.early.can_do_all_of(other.early)
    }
}

/// Where a configuration is: the next return, the value before it, and which operations have taken
/// effect of those that must be the same.
pub type Place<M> = (u32, Value, M);

/// The configurations that were tried.
pub struct Tried<M> {
    newest: FxHashMap<Place<M>, u32>,
    kept: Vec<Kept<M>>,
    /// Those that are asked no more, as `before` names them.
    free: Vec<u32>,
    /// What the sets of one configuration take elsewhere.
    elsewhere_bytes: usize,
}

struct Kept<M> {
    state: State<M>,
    /// The one before it at the same place, and one more; 0 for none.
    before: u32,
}

/// There is no room for another one.
pub struct Full;

impl<M: Mask> Tried<M> {
    pub fn new(slots: usize, open: usize) -> Self {
        let set_bytes =
            |count: usize| if M::IS_ELSEWHERE { count.div_ceil(128) * 16 + 16 } else { 0 };
        let elsewhere_bytes = 3 * set_bytes(slots) + set_bytes(open);
        Self { newest: FxHashMap::default(), kept: Vec::new(), free: Vec::new(), elsewhere_bytes }
    }

    /// Remembers a configuration; `false` if one that can do all that it can was tried before.
    pub fn is_new(
        &mut self,
        place: Place<M>,
        state: State<M>,
        room_bytes: usize,
    ) -> Result<bool, Full> {
        let newest = self.newest.get(&place).copied().unwrap_or(0);
        let (mut next, mut last) = (newest, None);
        while let Some(index) = next.checked_sub(1).map(|index| index as usize) {
            let kept = &self.kept[index];
            if kept.state.can_do_all_of(&state) {
                return Ok(false);
            }
            let before = kept.before;
            match last {
                // One that can do less is not asked any more.
                Some(last) if state.can_do_all_of(&kept.state) => {
                    let last: &mut Kept<M> = &mut self.kept[last];
                    last.before = before;
                    self.free.push(next);
                }
                _ => last = Some(index),
            }
            next = before;
        }
        let kept = Kept { state, before: newest };
        if let Some(free) = self.free.pop() {
            self.kept[free as usize - 1] = kept;
            self.newest.insert(place, free);
            return Ok(true);
        }
        if self.bytes_with_one_more() > room_bytes {
            return Err(Full);
        }
        self.kept.push(kept);
        let number = u32::try_from(self.kept.len()).map_err(|_| Full)?;
        self.newest.insert(place, number);
        Ok(true)
    }

    /// How many bytes this takes while one more is added: what grows is copied.
    fn bytes_with_one_more(&self) -> usize {
        let grows = |len: usize, capacity: usize| if len == capacity { 3 } else { 1 };
        let table = self.newest.capacity() * 8 / 7 * (size_of::<(Place<M>, u32)>() + 1);
        let list = self.kept.capacity() * size_of::<Kept<M>>();
        table * grows(self.newest.len(), self.newest.capacity())
            + list * grows(self.kept.len(), self.kept.capacity())
            + self.kept.len() * self.elsewhere_bytes
    }
}
