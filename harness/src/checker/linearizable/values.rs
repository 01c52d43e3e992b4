//! Values by number, and what operations make of them.

use rustc_hash::FxHashMap;

use super::{Action, Cas, Value};

/// The value of a key that was never written, or was deleted.
pub const ABSENT: Value = 0;

/// Stands for every value that nobody ever sees, nor anything that could be made from it: one is as
/// good as another.
pub const UNSEEN: Value = Value::MAX;

/// The texts of all values.
#[derive(Clone, Debug)]
pub struct Values {
    texts: Vec<Box<str>>,
    numbers: FxHashMap<Box<str>, Value>,
    /// What a value becomes when another one is appended to it.
    appended: FxHashMap<(Value, Value), Value>,
}

impl Default for Values {
    fn default() -> Self {
        // The text of ABSENT, which no number stands for, is what appending starts from.
        Self {
            texts: vec!["".into()],
            numbers: FxHashMap::default(),
            appended: FxHashMap::default(),
        }
    }
}

impl Values {
    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> Value {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = Value::try_from(self.texts.len()).expect("fewer than four billion values");
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// The text of a value; `None` for [`ABSENT`] and [`UNSEEN`].
    pub fn text(&self, value: Value) -> Option<&str> {
        (value != ABSENT && value != UNSEEN).then(|| &*self.texts[value as usize])
    }

    /// The value after `action` on `before`, or `None` if it cannot have happened there.
    pub(super) fn after(&mut self, before: Value, action: Action) -> Option<Value> {
        match action {
            Action::Get(seen) => (seen == before).then_some(before),
            Action::Put(value) => Some(value),
            Action::Delete => Some(ABSENT),
            Action::Append(_) if before == UNSEEN => Some(UNSEEN),
            Action::Append(text) => Some(self.append(before, text)),
            Action::Cas { expected, new, told } => match told {
                Some(Cas::Done) | None => (before == expected).then_some(new),
                Some(Cas::Mismatch(Some(seen))) => {
                    (before == seen && seen != expected).then_some(before)
                }
                Some(Cas::Mismatch(None)) => (before != expected).then_some(before),
            },
        }
    }

    /// Whether `value` can be what an append makes.
    pub(super) fn ends_with(&self, value: Value, append: Action) -> bool {
        let Action::Append(end) = append else { return false };
        value != ABSENT && self.texts[value as usize].ends_with(&*self.texts[end as usize])
    }

    /// What an append that made `value` must have met; `None` if there are two possibilities.
    pub(super) fn without_end(&mut self, value: Value, append: Action) -> Option<Value> {
        let Action::Append(end) = append else { return None };
        let before = self.texts[value as usize].strip_suffix(&*self.texts[end as usize])?;
        // Nothing and an empty text make no difference to an append.
        if before.is_empty() {
            return (!self.numbers.contains_key("")).then_some(ABSENT);
        }
        let before = before.to_owned();
        Some(self.number(&before))
    }

    fn append(&mut self, before: Value, text: Value) -> Value {
        if let Some(after) = self.appended.get(&(before, text)) {
            return *after;
        }
        let whole = format!("{}{}", self.texts[before as usize], self.texts[text as usize]);
        let after = self.number(&whole);
        self.appended.insert((before, text), after);
        after
    }
}
