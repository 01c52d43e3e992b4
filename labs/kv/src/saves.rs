//! Which saves the disk has done: whatever must survive a crash before it is said waits for one.

use std::collections::VecDeque;

/// The saves of a server, numbered from 1 in the order in which they were asked for.
pub struct Saves {
    begun: u64,
    done: u64,
    /// Those that are not done, and up to where the disk will have the log then.
    under_way: VecDeque<(u64, u64)>,
    log_index: u64,
}

impl Saves {
    /// None so far, on a disk that has the log up to `log_index`.
    pub fn new(log_index: u64) -> Self {
        Self { begun: 0, done: 0, under_way: VecDeque::new(), log_index }
    }

    /// A save of a log up to `last_index` is asked for, the log from `changed_from` on being new.
    /// Returns its number.
    pub fn begin(&mut self, changed_from: Option<u64>, last_index: u64) -> u64 {
        if let Some(from) = changed_from {
            // What was saved of the log from there on is no longer what it holds.
            let under_way = self.under_way.iter_mut().map(|(_, index)| index);
            for index in under_way.chain([&mut self.log_index]) {
                *index = (*index).min(from - 1);
            }
        }
        self.begun += 1;
        self.under_way.push_back((self.begun, last_index));
        self.begun
    }

    /// `save` is done, and so are those before it, even if they are heard of later: the disk does
    /// them in order, but many at once, and each is told of by a task of its own.
    pub fn finish(&mut self, save: u64) {
        self.done = self.done.max(save);
        let done = self.under_way.partition_point(|(it, _)| *it <= save);
        if let Some((_, index)) = self.under_way.drain(..done).next_back() {
            self.log_index = index;
        }
    }

    /// The last save that was asked for.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// The last save that is done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Up to where the disk has the log.
    pub fn log_index(&self) -> u64 {
        self.log_index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_done_whatever_is_heard_of_the_one_before_it() {
        let mut saves = Saves::new(0);
        assert_eq!((saves.begin(Some(1), 1), saves.begin(Some(2), 3)), (1, 2));
        saves.finish(2);
        saves.finish(1);
        assert_eq!((saves.done(), saves.log_index()), (2, 3));
    }

    #[test]
    fn an_entry_that_replaces_another_is_not_saved_with_it() {
        let mut saves = Saves::new(5);
        let (first, second) = (saves.begin(Some(6), 8), saves.begin(Some(4), 4));
        assert_eq!(saves.log_index(), 3);
        saves.finish(first);
        assert_eq!(saves.log_index(), 3);
        saves.finish(second);
        assert_eq!(saves.log_index(), 4);
    }
}
