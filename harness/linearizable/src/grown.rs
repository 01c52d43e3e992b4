//! What operations make of values. Only a value that somebody sees, or that can become one by
//! appending, is told from others: it is the beginning of something seen, and kept as a length.

use std::mem::size_of;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Action, Cas, Operation, Value, observed,
    values::{ABSENT, UNSEEN, Values},
};

/// The values that one key can have, numbered from the end of the given ones on if they are not
/// among these.
pub struct Grown<'a> {
    given: &'a Values,
    seen: FxHashSet<Value>,
    /// What only a key that is appended to needs.
    beginnings: Option<Beginnings<'a>>,
}

/// The beginnings of what is seen.
struct Beginnings<'a> {
    /// What is seen, sorted.
    texts: Vec<&'a str>,
    /// The beginnings that are given as values, and those that are not, by number.
    given: FxHashMap<Value, Beginning>,
    own: Vec<Beginning>,
    numbers: FxHashMap<(u32, u32), Value>,
    /// Whether an empty string is a value, or can become one.
    has_empty: bool,
}

/// The texts from `first` up to `end` begin with the same `length` bytes, and no others do.
#[derive(Clone, Copy)]
struct Beginning {
    first: u32,
    end: u32,
    length: u32,
}

impl<'a> Grown<'a> {
    /// What the operations on one key can make of each other.
    pub fn new(operations: &[Operation], given: &'a Values) -> Self {
        let seen = operations.iter().filter_map(|it| observed(it.action)).collect();
        let mut grown = Self { given, seen, beginnings: None };
        if operations.iter().any(|it| matches!(it.action, Action::Append(_))) {
            grown.beginnings = Some(grown.beginnings_of(operations));
        }
        grown
    }

    fn beginnings_of(&self, operations: &[Operation]) -> Beginnings<'a> {
        let mut texts: Vec<&str> =
            self.seen.iter().filter_map(|value| self.given.text(*value)).collect();
        texts.sort_unstable();
        let (given, numbers) = (FxHashMap::default(), FxHashMap::default());
        let mut it = Beginnings { texts, given, own: Vec::new(), numbers, has_empty: false };
        let words = operations.iter().flat_map(|it| match it.action {
            Action::Get(value) | Action::Put(value) | Action::Append(value) => [value, ABSENT],
            Action::Cas { expected, new, told: Some(Cas::Mismatch(_)) } => [expected, new],
            Action::Cas { expected, new, .. } => [expected, new],
            Action::Delete => [ABSENT; 2],
        });
        for value in words.chain(self.seen.iter().copied()) {
            let Some(text) = self.given.text(value) else { continue };
            it.has_empty |= text.is_empty();
            if let Some(beginning) = it.whole().then(&it.texts, text) {
                it.given.insert(value, beginning);
                it.numbers.insert((beginning.first, beginning.length), value);
            }
        }
        it
    }

    /// About how many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.beginnings.as_ref().map_or(0, |it| {
            it.own.capacity() * size_of::<Beginning>()
                + (it.numbers.capacity() + it.given.capacity()) * 8 / 7
                    * (size_of::<(Value, Beginning)>() + 1)
        })
    }

    /// The text of a value; `None` for [`ABSENT`] and [`UNSEEN`].
    pub fn text(&self, value: Value) -> Option<&str> {
        (value != ABSENT && value != UNSEEN).then(|| self.letters(value))
    }

    /// The value after `action` on `before`, or `None` if it cannot have happened there.
    pub fn after(&mut self, before: Value, action: Action) -> Option<Value> {
        match action {
            Action::Get(seen) => (seen == before).then_some(before),
            Action::Put(value) => Some(self.or_unseen(value)),
            Action::Delete => Some(ABSENT),
            Action::Append(text) => Some(self.append(before, text)),
            Action::Cas { expected, new, told } => match told {
                Some(Cas::Done) | None => (before == expected).then(|| self.or_unseen(new)),
                Some(Cas::Mismatch(Some(seen))) => {
                    (before == seen && seen != expected).then_some(before)
                }
                Some(Cas::Mismatch(None)) => (before != expected).then_some(before),
            },
        }
    }

    /// A value, or [`UNSEEN`] if it is the beginning of nothing that is ever seen.
    pub fn or_unseen(&self, value: Value) -> Value {
        let is_seen = value == ABSENT
            || match &self.beginnings {
                None => self.seen.contains(&value),
                Some(it) => it.of(value, self.given).is_some(),
            };
        if is_seen { value } else { UNSEEN }
    }

    /// What an append that made `value` must have met; `None` if there are two possibilities.
    pub fn without_end(&mut self, value: Value, end: Value) -> Option<Value> {
        let end = self.given.letters(end);
        let length = self.letters(value).strip_suffix(end)?.len();
        let it = self.beginnings.as_mut()?;
        // Nothing and an empty text make no difference to an append.
        if length == 0 {
            return (!it.has_empty).then_some(ABSENT);
        }
        let Beginning { first, .. } = it.of(value, self.given)?;
        let before = it.whole().then(&it.texts, &it.texts[first as usize][..length])?;
        Some(it.number(before, self.given))
    }

    /// The letters of one of the given values.
    pub fn given_letters(&self, value: Value) -> &'a str {
        self.given.letters(value)
    }

    /// The letters of a value that has any, and none for [`ABSENT`].
    pub fn letters(&self, value: Value) -> &str {
        match (value as usize).checked_sub(self.given.count() + 1) {
            None => self.given.letters(value),
            Some(own) => self.beginnings.as_ref().map_or("", |it| {
                let Beginning { first, length, .. } = it.own[own];
                &it.texts[first as usize][..length as usize]
            }),
        }
    }

    fn append(&mut self, before: Value, text: Value) -> Value {
        let end = self.given.letters(text);
        let Some(it) = &mut self.beginnings else { return UNSEEN };
        let Some(beginning) = it.of(before, self.given) else { return UNSEEN };
        match beginning.then(&it.texts, end) {
            Some(after) => it.number(after, self.given),
            None => UNSEEN,
        }
    }
}

impl Beginnings<'_> {
    /// Everything begins with nothing.
    fn whole(&self) -> Beginning {
        let end = u32::try_from(self.texts.len()).expect("fewer than four billion values");
        Beginning { first: 0, end, length: 0 }
    }

    fn of(&self, value: Value, given: &Values) -> Option<Beginning> {
        match (value as usize).checked_sub(given.count() + 1) {
            _ if value == UNSEEN => None,
            _ if value == ABSENT => Some(self.whole()),
            None => self.given.get(&value).copied(),
            Some(own) => Some(self.own[own]),
        }
    }

    fn number(&mut self, beginning: Beginning, given: &Values) -> Value {
        let Self { own, numbers, .. } = self;
        *numbers.entry((beginning.first, beginning.length)).or_insert_with(|| {
            own.push(beginning);
            Value::try_from(given.count() + own.len()).expect("fewer than four billion values")
        })
    }
}

impl Beginning {
    /// With `end` behind it, if any of the texts goes on so.
    fn then(self, texts: &[&str], end: &str) -> Option<Self> {
        let (first, length) = (self.first as usize, self.length as usize);
        let range = &texts[first..self.end as usize];
        let before = range.partition_point(|text| &text.as_bytes()[length..] < end.as_bytes());
        let range = &range[before..];
        let count =
            range.partition_point(|text| text.as_bytes()[length..].starts_with(end.as_bytes()));
        let first = self.first + before as u32;
        (count > 0).then(|| Self {
            first,
            end: first + count as u32,
            length: self.length + end.len() as u32,
        })
    }
}
