//! What survives a restart: term, vote, snapshot and log, as records of the disk.

use std::future::Future;

use node::{Change, Disk};
use proto::kv::{Entry, HardState, Snapshot};

use crate::raft::{Raft, Unsaved, log::Log};

const HARD_STATE: &str = "hard_state";
const SNAPSHOT: &str = "snapshot";
const ENTRY: &str = "log/";

/// The disk as a server sees it.
pub struct Storage {
    disk: Disk,
    /// Which entries are on it, or on their way: the first and the last.
    first_index: u64,
    last_index: u64,
}

impl Storage {
    /// What an earlier start has left behind.
    pub fn open(disk: Disk) -> (Self, HardState, Log) {
        let hard_state = disk.load(HARD_STATE).unwrap_or_default();
        let snapshot: Snapshot = disk.load(SNAPSHOT).unwrap_or_default();
        let first_index = snapshot.last_index + 1;
        let stored = disk.load_all::<Entry>(ENTRY);
        let last_index = snapshot.last_index + stored.len() as u64;
        let log = Log::new(snapshot, stored.into_iter().map(|(_, entry)| entry).collect());
        (Self { disk, first_index, last_index }, hard_state, log)
    }

    /// Saves what has changed, all of it or nothing, and returns when the disk has it. Saves are
    /// done in the order in which they were asked for, those that wait together at once.
    pub fn save(&mut self, raft: &Raft, unsaved: &Unsaved) -> impl Future<Output = ()> + use<> {
        let mut changes = Vec::new();
        let log = raft.log();
        let (first_index, last_index) = (log.snapshot().last_index + 1, log.last_index());
        if let Some(hard_state) = &unsaved.hard_state {
            changes.push(Change::put(HARD_STATE, hard_state));
        }
        if unsaved.snapshot {
            changes.push(Change::put(SNAPSHOT, log.snapshot()));
        }
        let gone = (self.first_index..first_index.min(self.last_index + 1))
            .chain(last_index.max(self.first_index - 1) + 1..self.last_index + 1);
        changes.extend(gone.map(|index| Change::remove(&key(index))));
        if let Some(from) = unsaved.log_from {
            let new = from.max(first_index)..last_index + 1;
            let entry = |index| Some(Change::put(&key(index), log.get(index)?));
            changes.extend(new.filter_map(entry));
        }
        (self.first_index, self.last_index) = (first_index, last_index);
        self.disk.write(changes)
    }
}

/// In the order of their indexes.
fn key(index: u64) -> String {
    format!("{ENTRY}{index:020}")
}
