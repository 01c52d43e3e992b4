//! Who has to see which value, and who can make it: what an order must look like, read off before
//! any is tried.

use rustc_hash::FxHashMap;

use super::{
    ABSENT, Action, Cas, NEVER, Operation, Value, grown::Grown, observed, timeline::Timeline,
};

/// Who is still to see which value.
pub struct Sights {
    by_value: FxHashMap<Value, Sight>,
    /// The value that each operation must meet, if that is known.
    meets: Vec<Option<Value>>,
}

/// Who sees and who makes one value. Times are places among the events.
#[derive(Default)]
struct Sight {
    /// How many operations that must meet it have not taken effect.
    waiting: u32,
    /// Whether no more than one operation can make it.
    made_once: bool,
    /// Whether an append can make it.
    is_appended: bool,
    /// When operations that write it are called.
    written: Vec<u32>,
    /// When operations that must meet it are called, and the first moment by which one of these or
    /// of later ones returns.
    met: Vec<(u32, u32)>,
}

/// Who can make one value.
#[derive(Default)]
struct Makers {
    count: usize,
    /// The one that makes it by appending, if there is one.
    appender: Option<(usize, Value)>,
}

impl Sights {
    /// What the operations of a stretch that starts with one of `starts` say of each other.
    ///
    /// What an operation was told says which value it met. And if only one operation can have made
    /// a value that somebody met, by appending, then that one met the value without its end.
    pub fn new(
        operations: &[Operation],
        timeline: &Timeline,
        starts: &[Value],
        values: &mut Grown<'_>,
    ) -> Self {
        let mut sights = Self {
            by_value: FxHashMap::default(),
            meets: operations.iter().map(told_of).collect(),
        };
        let appends = Appends::new(operations, values);
        let mut written: FxHashMap<Value, Vec<u32>> = FxHashMap::default();
        for (operation, called) in operations.iter().zip(&timeline.called) {
            if let Some(value) = writes(operation.action) {
                written.entry(value).or_default().push(*called);
            }
        }
        let mut met: Vec<Value> = sights.meets.iter().flatten().copied().collect();
        while let Some(value) = met.pop() {
            if let Some(sight) = sights.by_value.get_mut(&value) {
                sight.waiting += 1;
                continue;
            }
            let written = written.remove(&value).unwrap_or_default();
            let mut makers = appends.makers(value, values);
            let is_appended = makers.appender.is_some();
            makers.count += written.len();
            let is_start = starts.contains(&value);
            let made_once = makers.count <= usize::from(!is_start);
            let sight = Sight { waiting: 1, made_once, is_appended, written, met: Vec::new() };
            sights.by_value.insert(value, sight);
            if let Makers { count: 1, appender: Some((appender, end)) } = makers
                && !is_start
                && let Some(before) = values.without_end(value, end)
            {
                sights.meets[appender] = Some(before);
                met.push(before);
            }
        }
        sights.note_when_met(timeline);
        sights
    }

    fn note_when_met(&mut self, timeline: &Timeline) {
        for (index, value) in self.meets.iter().enumerate().rev() {
            let Some(sight) = value.and_then(|value| self.by_value.get_mut(&value)) else {
                continue;
            };
            let earliest = sight.met.last().map_or(u32::MAX, |(_, returned)| *returned);
            sight.met.push((timeline.called[index], timeline.returned[index].min(earliest)));
        }
        for sight in self.by_value.values_mut() {
            sight.met.reverse();
        }
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

    /// Whether anybody is still to see `value`.
    pub fn is_awaited(&self, value: Value) -> bool {
        self.by_value.get(&value).is_some_and(|sight| sight.waiting > 0)
    }

    /// Whether `value` may not be left by the operation `index`: somebody else must still see it,
    /// and it will not come back.
    pub fn hold(&self, value: Value, index: u32) -> bool {
        let own = u32::from(self.meets(index) == Some(value));
        self.by_value.get(&value).is_some_and(|sight| sight.made_once && sight.waiting > own)
    }

    /// When operations that are called from `at` on must have met `value`, the first of them.
    pub fn needed_by(&self, value: Value, at: u32) -> Option<u32> {
        let met = &self.by_value.get(&value)?.met;
        met.get(met.partition_point(|(called, _)| *called < at)).map(|(_, returned)| *returned)
    }

    /// Whether somebody who is called from `at` on and before `until` may make `value`.
    pub fn comes(&self, value: Value, at: u32, until: u32) -> bool {
        self.by_value.get(&value).is_none_or(|Sight { written, is_appended, .. }| {
            let next = written.get(written.partition_point(|called| *called < at));
            *is_appended || next.is_some_and(|called| *called < until)
        })
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

/// The value that an operation leaves if it takes effect, unless that depends on the one before.
pub fn writes(action: Action) -> Option<Value> {
    match action {
        Action::Put(value) => Some(value),
        Action::Cas { told: Some(Cas::Mismatch(_)), .. } => None,
        Action::Cas { new, .. } => Some(new),
        Action::Delete => Some(ABSENT),
        Action::Get(_) | Action::Append(_) => None,
    }
}

/// The appends of a stretch by what they append.
struct Appends<'a> {
    by_text: FxHashMap<&'a str, (usize, Value, usize)>,
    /// The lengths of what is appended.
    lengths: Vec<usize>,
}

impl<'a> Appends<'a> {
    fn new(operations: &[Operation], values: &Grown<'a>) -> Self {
        let mut by_text: FxHashMap<&str, (usize, Value, usize)> = FxHashMap::default();
        for (index, operation) in operations.iter().enumerate() {
            if let Action::Append(end) = operation.action {
                by_text.entry(values.given_letters(end)).or_insert((index, end, 0)).2 += 1;
            }
        }
        let mut lengths: Vec<usize> = by_text.keys().map(|text| text.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { by_text, lengths }
    }

    /// Who can make `value` by appending.
    fn makers(&self, value: Value, values: &Grown<'_>) -> Makers {
        let mut makers = Makers::default();
        let Some(text) = values.text(value) else { return makers };
        let ends =
            self.lengths.iter().filter_map(|length| text.get(text.len().checked_sub(*length)?..));
        for (index, end, count) in ends.filter_map(|end| self.by_text.get(end)) {
            makers.count += count;
            makers.appender.get_or_insert((*index, *end));
        }
        makers
    }
}
