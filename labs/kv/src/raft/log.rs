//! The log: entries by index, from 1, of which a snapshot may stand for the first ones.

use proto::kv::{Entry, Snapshot};

/// How many of the entries that a snapshot stands for are kept, so that whoever is only a moment
/// late need not be sent the snapshot.
const KEPT: u64 = 100;

/// Entries and what came before them.
#[derive(Debug, Default)]
pub struct Log {
    /// What stands for all entries up to its `last_index`.
    snapshot: Snapshot,
    /// The entry before the first that is kept.
    start: u64,
    entries: Vec<Entry>,
}

impl Log {
    pub fn new(snapshot: Snapshot, entries: Vec<Entry>) -> Self {
        Self { start: snapshot.last_index, snapshot, entries }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn last_index(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub fn last_term(&self) -> u64 {
        self.entries.last().map_or(self.snapshot.last_term, |entry| entry.term)
    }

    /// The term of the entry at `index`; `None` if it is unknown: not here yet, or not kept.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.snapshot.last_index {
            return Some(self.snapshot.last_term);
        }
        self.get(index).map(|entry| entry.term)
    }

    pub fn get(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.start + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// At most `most` entries from `index` on.
    pub fn from(&self, index: u64, most: usize) -> &[Entry] {
        let start = self.offset_of(index);
        &self.entries[start..(start + most).min(self.entries.len())]
    }

    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Forgets every entry after `index` that the snapshot does not stand for.
    pub fn truncate(&mut self, index: u64) {
        self.entries.truncate(self.offset_of(index.max(self.snapshot.last_index) + 1));
    }

    /// The first index of the term of the entry at `index`, as far back as the entries go.
    pub fn first_of_term(&self, index: u64) -> u64 {
        let term = self.term_at(index);
        let earlier = (self.start + 1..index).rev();
        earlier.take_while(|earlier| self.term_at(*earlier) == term).last().unwrap_or(index)
    }

    /// The last index of `term`, if there is one.
    pub fn last_of_term(&self, term: u64) -> Option<u64> {
        let after = self.entries.partition_point(|entry| entry.term <= term);
        let index = self.start + after as u64;
        (self.term_at(index) == Some(term)).then_some(index)
    }

    /// From now on `snapshot` stands for all entries up to its last; those after it stay if they
    /// follow it, and so do the last ones before.
    pub fn compact(&mut self, snapshot: Snapshot) {
        if self.term_at(snapshot.last_index) == Some(snapshot.last_term) {
            let start = self.start.max(snapshot.last_index.saturating_sub(KEPT));
            self.entries.drain(..self.offset_of(start + 1));
            self.start = start;
        } else {
            self.entries.clear();
            self.start = snapshot.last_index;
        }
        self.snapshot = snapshot;
    }

    /// Where the entry at `index` is, or would be.
    fn offset_of(&self, index: u64) -> usize {
        let offset = index.saturating_sub(self.start + 1);
        usize::try_from(offset).unwrap_or(usize::MAX).min(self.entries.len())
    }
}
