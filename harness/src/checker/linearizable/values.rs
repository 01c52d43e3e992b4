//! Values by number, and what operations make of them.

use rustc_hash::FxHashMap;

use super::{Action, Cas, Value};

/// The value of a key that was never written, or was deleted.
pub const ABSENT: Value = 0;

/// Stands for every value that nobody ever sees, nor anything that could be made from it: one is as
/// good as another.
pub const UNSEEN: Value = Value::MAX;

/// The texts of all values of a history.
#[derive(Clone, Debug)]
pub struct Values {
    texts: Vec<Box<str>>,
    numbers: FxHashMap<Box<str>, Value>,
}

impl Default for Values {
    fn default() -> Self {
        // The text of ABSENT, which no number stands for, is what appending starts from.
        Self { texts: vec!["".into()], numbers: FxHashMap::default() }
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
}

/// The values of a history, and those that a search makes of them by appending. Its own are
/// numbered from the end of the given ones on.
pub(super) struct Grown<'a> {
    given: &'a Values,
    texts: Vec<Box<str>>,
    numbers: FxHashMap<Box<str>, Value>,
    /// What a value becomes when another one is appended to it.
    appended: FxHashMap<(Value, Value), Value>,
}

impl<'a> Grown<'a> {
    /// Nothing but what is given.
    pub fn new(given: &'a Values) -> Self {
        let (numbers, appended) = (FxHashMap::default(), FxHashMap::default());
        Self { given, texts: Vec::new(), numbers, appended }
    }

    /// The text of a value; `None` for [`ABSENT`] and [`UNSEEN`].
    pub fn text(&self, value: Value) -> Option<&str> {
        (value != ABSENT && value != UNSEEN).then(|| self.letters(value))
    }

    /// The value after `action` on `before`, or `None` if it cannot have happened there.
    pub fn after(&mut self, before: Value, action: Action) -> Option<Value> {
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
    pub fn ends_with(&self, value: Value, append: Action) -> bool {
        let Action::Append(end) = append else { return false };
        value != ABSENT && self.letters(value).ends_with(self.letters(end))
    }

    /// What an append that made `value` must have met; `None` if there are two possibilities.
    pub fn without_end(&mut self, value: Value, append: Action) -> Option<Value> {
        let Action::Append(end) = append else { return None };
        let before = self.letters(value).strip_suffix(self.letters(end))?;
        // Nothing and an empty text make no difference to an append.
        if before.is_empty() {
            return (!self.given.numbers.contains_key("")).then_some(ABSENT);
        }
        let before = before.to_owned();
        Some(self.number(before))
    }

    /// The letters of a value that has any, and none for [`ABSENT`].
    fn letters(&self, value: Value) -> &str {
        let place = value as usize;
        match place.checked_sub(self.given.texts.len()) {
            None => &self.given.texts[place],
            Some(own) => &self.texts[own],
        }
    }

    fn number(&mut self, text: String) -> Value {
        let known =
            self.given.numbers.get(text.as_str()).or_else(|| self.numbers.get(text.as_str()));
        if let Some(number) = known {
            return *number;
        }
        let place = self.given.texts.len() + self.texts.len();
        let number = Value::try_from(place).expect("fewer than four billion values");
        let text: Box<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    fn append(&mut self, before: Value, text: Value) -> Value {
        if let Some(after) = self.appended.get(&(before, text)) {
            return *after;
        }
        let whole = format!("{}{}", self.letters(before), self.letters(text));
        let after = self.number(whole);
        self.appended.insert((before, text), after);
        after
    }
}
