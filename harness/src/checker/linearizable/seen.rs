//! Which values anybody of a key's history ever sees, or could see after some appends.

use rustc_hash::FxHashMap;

use super::{
    ABSENT, Operation, Value, observed,
    values::{Grown, UNSEEN},
};

/// The values that are seen.
pub struct Seen {
    /// Their texts, sorted.
    texts: Vec<Box<str>>,
    known: FxHashMap<Value, bool>,
}

impl Seen {
    /// What the operations on one key say that they saw.
    pub fn new(operations: &[Operation], values: &Grown<'_>) -> Self {
        let seen = operations.iter().filter_map(|operation| observed(operation.action));
        let mut texts: Vec<Box<str>> =
            seen.filter_map(|value| values.text(value)).map(Box::from).collect();
        texts.sort_unstable();
        texts.dedup();
        Self { texts, known: FxHashMap::default() }
    }

    /// The value itself, or [`UNSEEN`] if it is the beginning of nothing that is ever seen.
    pub fn or_unseen(&mut self, value: Value, values: &Grown<'_>) -> Value {
        if value == ABSENT || value == UNSEEN {
            return value;
        }
        let texts = &self.texts;
        let is_seen = *self.known.entry(value).or_insert_with(|| {
            let text = values.text(value).unwrap_or_default();
            let next = texts.partition_point(|seen| **seen < *text);
            texts.get(next).is_some_and(|seen| seen.starts_with(text))
        });
        if is_seen { value } else { UNSEEN }
    }
}
