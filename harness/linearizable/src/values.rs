//! Values by number.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Value;

/// The value of a key that was never written, or was deleted.
pub const ABSENT: Value = 0;

/// Stands for every value that nobody ever sees, nor anything that could be made from it: one is as
/// good as another.
pub const UNSEEN: Value = Value::MAX;

/// All values of a history: strings, and other JSON values in one form.
#[derive(Clone, Debug)]
pub struct Values {
    texts: Vec<Arc<str>>,
    strings: FxHashMap<Arc<str>, Value>,
    others: FxHashMap<Arc<str>, Value>,
}

impl Default for Values {
    fn default() -> Self {
        // The text of ABSENT, which no number stands for, is what appending starts from.
        let (strings, others) = (FxHashMap::default(), FxHashMap::default());
        Self { texts: vec!["".into()], strings, others }
    }
}

impl Values {
    /// The number of a string.
    pub fn number(&mut self, text: &str) -> Value {
        number(text, &mut self.strings, &mut self.texts)
    }

    /// The number of a JSON value that is no string.
    pub fn number_of_json(&mut self, text: &str) -> Value {
        number(text, &mut self.others, &mut self.texts)
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.texts.len() - 1
    }

    /// The text of a value; `None` for [`ABSENT`] and [`UNSEEN`].
    pub fn text(&self, value: Value) -> Option<&str> {
        (value != ABSENT && value != UNSEEN).then(|| self.letters(value))
    }

    /// Whether a value is a string, and not another JSON value.
    pub fn is_string(&self, value: Value) -> bool {
        self.text(value).is_some_and(|text| self.strings.get(text) == Some(&value))
    }

    /// The text of a value that has any, and none for [`ABSENT`].
    pub(super) fn letters(&self, value: Value) -> &str {
        &self.texts[value as usize]
    }
}

fn number(
    text: &str,
    numbers: &mut FxHashMap<Arc<str>, Value>,
    texts: &mut Vec<Arc<str>>,
) -> Value {
    if let Some(number) = numbers.get(text) {
        return *number;
    }
    let number = Value::try_from(texts.len()).expect("fewer than four billion values");
    let text: Arc<str> = text.into();
    texts.push(Arc::clone(&text));
    numbers.insert(text, number);
    number
}
