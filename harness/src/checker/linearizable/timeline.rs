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
    /// Operations under way at the same time have different slots. Those that never return have
    /// slots of their own kind.
    pub slot_of: Vec<u32>,
    pub slots: usize,
    /// How many never return.
    pub open: usize,
    /// For an operation that never returned, the one before it that did the same: which of the two
    /// happened first makes no difference.
    pub twin_of: Vec<u32>,
}

/// No operation.
pub const NONE: u32 = u32::MAX;

impl Timeline {
    pub fn new(operations: &[Operation]) -> Self {
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
        let (mut slot_of, mut twin_of) = (vec![0; operations.len()], vec![NONE; operations.len()]);
        let (mut free, mut slots, mut open) = (Vec::new(), 0_u32, 0_u32);
        let mut last: FxHashMap<Action, u32> = FxHashMap::default();
        for Event { operation, is_return } in &events {
            let index = *operation as usize;
            if *is_return {
                free.push(slot_of[index]);
            } else if operations[index].return_us == NEVER {
                let earlier = last.insert(operations[index].action, *operation);
                twin_of[index] = earlier.unwrap_or(NONE);
                slot_of[index] = open;
                open += 1;
            } else {
                slot_of[index] = free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
            }
        }
        Self { events, slot_of, slots: slots as usize, open: open as usize, twin_of }
    }
}

/// A set of slots.
pub trait Mask: Clone + Eq + std::hash::Hash {
    fn none(slots: usize) -> Self;
    fn has(&self, slot: u32) -> bool;
    fn flip(&mut self, slot: u32);
    fn is_within(&self, other: &Self) -> bool;
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
    fn is_within(&self, other: &Self) -> bool {
        self & !other == 0
    }
}

/// However many slots there are.
impl Mask for Box<[u128]> {
    fn none(slots: usize) -> Self {
        vec![0; slots.div_ceil(128)].into()
    }
    fn has(&self, slot: u32) -> bool {
        self[slot as usize / 128].has(slot % 128)
    }
    fn flip(&mut self, slot: u32) {
        self[slot as usize / 128].flip(slot % 128);
    }
    fn is_within(&self, other: &Self) -> bool {
        self.iter().zip(other).all(|(one, other)| one.is_within(other))
    }
}
