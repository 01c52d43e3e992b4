//! Calls and returns by time, and sets of what is under way between them.

use rustc_hash::FxHashMap;

use super::{Action, NEVER, Operation};

/// A call or a return.
#[derive(Clone, Copy)]
pub struct Event {
    pub operation: u32,
    pub is_return: bool,
}

/// Calls and returns by time.
pub struct Timeline {
    pub events: Vec<Event>,
    /// When each operation was called, and when it returned, as places among the events.
    pub called: Vec<u32>,
    pub returned: Vec<u32>,
    /// Operations under way at the same time have different slots. Those that never return have
    /// slots of their own kind.
    pub slot_of: Vec<u32>,
    pub slots: usize,
    /// How many never return.
    pub open: usize,
    /// For an operation that never returned, the one before it that did the same: which of the two
    /// happened first makes no difference.
    pub twin_of: Vec<u32>,
    /// For an operation that its process called at the moment at which its last one returned, that
    /// last one, which comes first.
    pub after: Vec<u32>,
    /// Whether an operation is such a last one.
    pub is_followed: Vec<bool>,
}

/// No operation.
pub const NONE: u32 = u32::MAX;

impl Timeline {
    /// `operations` are by call, and those of one process in its order. `touches` says whether any
    /// of these touch.
    pub fn new(operations: &[Operation], touches: bool) -> Self {
        let mut times: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in (0..).zip(operations) {
            times.push((operation.call_us, false, index));
            if operation.return_us != NEVER {
                times.push((operation.return_us, true, index));
            }
        }
        // At one moment, calls come first: what touches is concurrent, but for one process.
        times.sort_unstable();
        let events: Vec<Event> =
            times.iter().map(|&(_, is_return, operation)| Event { operation, is_return }).collect();
        let count = operations.len();
        let mut timeline = Self {
            called: vec![0; count],
            returned: vec![NONE; count],
            slot_of: vec![0; count],
            twin_of: vec![NONE; count],
            after: vec![NONE; count],
            is_followed: vec![false; count],
            events,
            slots: 0,
            open: 0,
        };
        timeline.give_slots(operations);
        if touches {
            timeline.find_touching(operations);
        }
        timeline
    }

    fn give_slots(&mut self, operations: &[Operation]) {
        let mut free = Vec::new();
        let mut last: FxHashMap<Action, u32> = FxHashMap::default();
        let new_slot = |slots: &mut usize| {
            *slots += 1;
            u32::try_from(*slots - 1).expect("fewer than four billion operations")
        };
        for (at, Event { operation, is_return }) in (0..).zip(&self.events) {
            let index = *operation as usize;
            if *is_return {
                self.returned[index] = at;
                free.push(self.slot_of[index]);
                continue;
            }
            self.called[index] = at;
            self.slot_of[index] = if operations[index].return_us == NEVER {
                let earlier = last.insert(operations[index].action, *operation);
                self.twin_of[index] = earlier.unwrap_or(NONE);
                new_slot(&mut self.open)
            } else {
                free.pop().unwrap_or_else(|| new_slot(&mut self.slots))
            };
        }
    }

    fn find_touching(&mut self, operations: &[Operation]) {
        let mut last: FxHashMap<u32, u32> = FxHashMap::default();
        for (index, operation) in (0..).zip(operations) {
            let earlier = last.insert(operation.process, index);
            let touches = |it: &u32| operations[*it as usize].return_us == operation.call_us;
            if let Some(earlier) = earlier.filter(touches) {
                self.after[index as usize] = earlier;
                self.is_followed[earlier as usize] = true;
            }
        }
    }
}

/// Whether any process called at the very moment at which its last operation returned.
/// `order` is by call.
pub fn any_touch(order: &[usize], operations: &[Operation]) -> bool {
    let mut last_us: FxHashMap<u32, u64> = FxHashMap::default();
    order.iter().any(|index| {
        let Operation { process, call_us, return_us, .. } = operations[*index];
        last_us.insert(process, return_us) == Some(call_us)
    })
}

/// A set of slots.
pub trait Mask: Clone + Eq + std::hash::Hash {
    /// How many bytes it takes elsewhere.
    const IS_ELSEWHERE: bool = false;
    fn none(slots: usize) -> Self;
    fn has(&self, slot: u32) -> bool;
    fn set(&mut self, slot: u32, to: bool);
    fn is_within(&self, other: &Self) -> bool;
    /// What is in both.
    fn both(&self, other: &Self) -> Self;
}

macro_rules! word {
    ($word:ty) => {
        impl Mask for $word {
            fn none(_: usize) -> Self {
                0
            }
            fn has(&self, slot: u32) -> bool {
                self >> slot & 1 == 1
            }
            fn set(&mut self, slot: u32, to: bool) {
                *self = *self & !(1 << slot) | <$word>::from(to) << slot;
            }
            fn is_within(&self, other: &Self) -> bool {
                self & !other == 0
            }
            fn both(&self, other: &Self) -> Self {
                self & other
            }
        }
    };
}

word!(u64);
word!(u128);

/// However many slots there are.
impl Mask for Box<[u128]> {
    const IS_ELSEWHERE: bool = true;
    fn none(slots: usize) -> Self {
        vec![0; slots.div_ceil(128)].into()
    }
    fn has(&self, slot: u32) -> bool {
        self[slot as usize / 128].has(slot % 128)
    }
    fn set(&mut self, slot: u32, to: bool) {
        self[slot as usize / 128].set(slot % 128, to);
    }
    fn is_within(&self, other: &Self) -> bool {
        self.iter().zip(other).all(|(one, other)| one.is_within(other))
    }
    fn both(&self, other: &Self) -> Self {
        self.iter().zip(other).map(|(one, other)| one & other).collect()
    }
}
