//! Who has to see which value: what an order must look like, read off before any is tried.

use rustc_hash::FxHashMap;

use super::{Action, Cas, NEVER, Operation, Value, observed, values::Grown};

/// Who is still to see which value.
pub struct Sights {
    by_value: FxHashMap<Value, Sight>,
    /// The value that each operation must meet, if that is known.
    meets: Vec<Option<Value>>,
}

/// Who is still to see one value.
struct Sight {
    /// How many operations that must meet it have not taken effect.
    waiting: u32,
    /// Whether no more than one operation can make it.
    made_once: bool,
}

/// Who can make one value.
#[derive(Default)]
struct Makers {
    count: usize,
    /// The one that makes it by appending, if there is one.
    appender: Option<usize>,
}

impl Sights {
    /// What the operations of a stretch that starts with one of `starts` say of each other.
    ///
    /// What an operation was told says which value it met. And if only one operation can have made
    /// a value that somebody met, by appending, then that one met the value without its end.
    pub fn new(operations: &[Operation], starts: &[Value], values: &mut Grown<'_>) -> Self {
        let mut meets: Vec<Option<Value>> = operations.iter().map(told_of).collect();
        let appends: Vec<usize> = (0..operations.len())
            .filter(|index| matches!(operations[*index].action, Action::Append(_)))
            .collect();
        let mut written: FxHashMap<Value, usize> = FxHashMap::default();
        for operation in operations {
            match operation.action {
                Action::Put(value) | Action::Cas { new: value, .. } => {
                    *written.entry(value).or_default() += 1;
                }
                Action::Delete => *written.entry(super::ABSENT).or_default() += 1,
                Action::Get(_) | Action::Append(_) => {}
            }
        }
        let mut by_value: FxHashMap<Value, Sight> = FxHashMap::default();
        let mut met: Vec<Value> = meets.iter().flatten().copied().collect();
        while let Some(value) = met.pop() {
            if let Some(sight) = by_value.get_mut(&value) {
                sight.waiting += 1;
                continue;
            }
            let mut makers = makers(value, operations, &appends, values);
            makers.count += written.get(&value).copied().unwrap_or(0);
            let is_start = starts.contains(&value);
            by_value.insert(
                value,
                Sight { waiting: 1, made_once: makers.count <= usize::from(!is_start) },
            );
            if let Makers { count: 1, appender: Some(appender) } = makers
                && !is_start
                && let Some(before) = values.without_end(value, operations[appender].action)
            {
                meets[appender] = Some(before);
                met.push(before);
            }
        }
        Self { by_value, meets }
    }

    /// The value that an operation must meet, if that is known.
    pub fn meets(&self, index: u32) -> Option<Value> {
        self.meets[index as usize]
    }

    /// An operation has taken effect.
    pub fn saw(&mut self, index: u32) {
        if let Some(sight) = self.meets(index).and_then(|value| self.by_value.get_mut(&value)) {
            sight.waiting -= 1;
        }
    }

    /// It has not, after all.
    pub fn unsaw(&mut self, index: u32) {
        if let Some(sight) = self.meets(index).and_then(|value| self.by_value.get_mut(&value)) {
            sight.waiting += 1;
        }
    }

    /// Whether `value` may not be left by the operation `index`: somebody else must still see it,
    /// and it will not come back.
    pub fn hold(&self, value: Value, index: u32) -> bool {
        let own = u32::from(self.meets(index) == Some(value));
        self.by_value.get(&value).is_some_and(|sight| sight.made_once && sight.waiting > own)
    }
}

/// The value that an operation was told it met.
fn told_of(operation: &Operation) -> Option<Value> {
    match operation.action {
        _ if operation.return_us == NEVER => None,
        Action::Cas { told: Some(Cas::Mismatch(seen)), .. } => seen,
        action => observed(action),
    }
}

/// Who can make `value` by appending.
fn makers(value: Value, operations: &[Operation], appends: &[usize], values: &Grown<'_>) -> Makers {
    let fits = |index: &&usize| values.ends_with(value, operations[**index].action);
    let mut fitting = appends.iter().filter(fits);
    let appender = fitting.next().copied();
    Makers { count: usize::from(appender.is_some()) + fitting.take(1).count(), appender }
}
