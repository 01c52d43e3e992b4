//! Fencing: what a newer token has written, an older one no longer changes; reads never go back.

use std::collections::BTreeMap;

use crate::{
    checker::{Finding, Late, seconds},
    fabric::weather::Weather,
};

/// The order of writes: by token, then by number under that token; (0, 0) is before all writes.
pub type Version = (u64, u64);

/// A write as its client saw it. Times in microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Under which lock.
    pub lock: String,
    /// By whom.
    pub owner: String,
    /// By which client; it does one thing after the other.
    pub process: u32,
    /// As which operation of the history, where those of one client are in their order.
    pub place: usize,
    /// As what.
    pub version: Version,
    /// What; no two writes have the same value.
    pub value: String,
    /// When it was first sent.
    pub call_us: u64,
    /// When the client knew, and what; `None` if it never did.
    pub returned: Option<(u64, Told)>,
}

/// What a writer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is written.
    Ok,
    /// Something newer is.
    Fenced,
}

/// A read that returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Under which lock.
    pub lock: String,
    /// By whom.
    pub reader: String,
    /// By which client.
    pub process: u32,
    /// As which operation of the history.
    pub place: usize,
    /// Which write it saw.
    pub version: Version,
    /// What it saw.
    pub value: String,
    /// Who told it.
    pub node: String,
    /// When it was first sent.
    pub call_us: u64,
    /// When it returned.
    pub return_us: u64,
}

impl Write {
    fn ok_us(&self) -> Option<u64> {
        self.returned.filter(|(_, told)| *told == Told::Ok).map(|(at_us, _)| at_us)
    }

    fn name(&self) -> String {
        let (token, seq) = self.version;
        format!("{}'s write {seq} under token {token}", self.owner)
    }
}

/// Something that had certainly happened by a moment: a write that returned OK, or a read.
struct Done<'a> {
    process: u32,
    place: usize,
    at_us: u64,
    version: Version,
    what: String,
    who: &'a str,
}

/// A write that returned OK stays: an older token's write that is sent later neither succeeds nor
/// is read, reads never go back, and nobody is fenced off without something newer. O(n log n).
pub fn fenced(writes: &[Write], reads: &[Read]) -> Option<Finding> {
    let mut locks: BTreeMap<&str, (Vec<&Write>, Vec<&Read>)> = BTreeMap::new();
    for write in writes {
        locks.entry(&write.lock).or_default().0.push(write);
    }
    for read in reads {
        locks.entry(&read.lock).or_default().1.push(read);
    }
    let findings = locks.values().flat_map(|(writes, reads)| {
        [
            late_writes(writes, reads),
            unwritten(writes, reads),
            went_back(writes, reads),
            barred(writes),
        ]
    });
    findings.flatten().min_by_key(|finding| finding.at_us)
}

/// What had been done by any moment, and what each client had done by then.
struct Past<'a> {
    /// By time.
    done: Vec<Done<'a>>,
    /// Up to each of them, the newest, and the newest by somebody else than that one's process.
    newest: Vec<[Option<usize>; 2]>,
    /// By process, then by place in the history: the newest that this process had done by then.
    own: Vec<(u32, usize, usize)>,
}

impl<'a> Past<'a> {
    fn new(mut done: Vec<Done<'a>>) -> Self {
        done.sort_by_key(|done| done.at_us);
        let version = |at: &usize| done[*at].version;
        let mut newest: Vec<[Option<usize>; 2]> = Vec::with_capacity(done.len());
        for next in 0..done.len() {
            let [first, second] = newest.last().copied().unwrap_or_default();
            let known = [Some(next), second, first].into_iter().flatten();
            let first = known.clone().max_by_key(version);
            let is_another =
                |at: &usize| first.is_some_and(|first| done[first].process != done[*at].process);
            newest.push([first, known.filter(is_another).max_by_key(version)]);
        }
        let places = done.iter().enumerate().map(|(at, done)| (done.process, done.place, at));
        let mut own: Vec<_> = places.collect();
        own.sort_unstable();
        for next in 1..own.len() {
            let (before, it) = (own[next - 1], &mut own[next]);
            if before.0 == it.0 && version(&before.2) >= version(&it.2) {
                it.2 = before.2;
            }
        }
        Self { done, newest, own }
    }

    /// The newest that others had done before a moment, or the client `process` before an operation
    /// at this `place`. What touches is concurrent, unless the same client did it.
    fn before(&self, moment_us: u64, process: u32, place: usize) -> Option<&Done<'a>> {
        let over = self.done.partition_point(|done| done.at_us < moment_us);
        let newest = over.checked_sub(1).map(|last| self.newest[last]).unwrap_or_default();
        let others = newest.into_iter().flatten().find(|at| self.done[*at].process != process);
        let earlier = self.own.partition_point(|own| (own.0, own.1) < (process, place));
        let last = earlier.checked_sub(1).map(|last| self.own[last]);
        let own = last.filter(|own| own.0 == process).map(|own| own.2);
        let both = others.into_iter().chain(own).map(|at| &self.done[at]);
        both.max_by_key(|done| done.version)
    }
}

fn written<'a>(writes: &[&'a Write]) -> Vec<Done<'a>> {
    let done = writes.iter().filter_map(|write| {
        let at_us = write.ok_us()?;
        let Write { process, place, version, .. } = **write;
        Some(Done { process, place, at_us, version, what: write.name(), who: &write.owner })
    });
    done.collect()
}

/// A write that was sent after a higher token's had returned OK, and returned OK as well, or was
/// read.
fn late_writes(writes: &[&Write], reads: &[&Read]) -> Option<Finding> {
    let past = Past::new(written(writes));
    let mut by_version: BTreeMap<(Version, &str), &Read> = BTreeMap::new();
    for read in reads {
        by_version.entry((read.version, &read.value)).or_insert(read);
    }
    let mut by_call: Vec<_> = writes.to_vec();
    by_call.sort_by_key(|write| write.call_us);
    by_call.into_iter().find_map(|write| {
        let before = past.before(write.call_us, write.process, write.place)?;
        if write.version.0 >= before.version.0 {
            return None;
        }
        let read = by_version.get(&(write.version, write.value.as_str()));
        let (at_us, what) = match (write.ok_us(), read) {
            (Some(at_us), _) => (at_us, "returned OK".to_owned()),
            (None, Some(read)) => (read.return_us, format!("was read by {}", read.reader)),
            (None, None) => return None,
        };
        let sentence = format!(
            "{} of {} was sent at {} and {what} at {}, after {} had returned OK at {}. It should \
             have been FENCED.",
            write.name(),
            write.lock,
            seconds(write.call_us),
            seconds(at_us),
            before.what,
            seconds(before.at_us),
        );
        let clients = vec![write.owner.clone(), before.who.to_owned()];
        Some(Finding { sentence, since_us: before.at_us, at_us, clients })
    })
}

/// A read of what was never written, or not yet sent.
fn unwritten(writes: &[&Write], reads: &[&Read]) -> Option<Finding> {
    // A token that was granted twice may have written twice under one number.
    let mut by_version: BTreeMap<(Version, &str), &Write> = BTreeMap::new();
    for write in writes {
        by_version.insert((write.version, &write.value), write);
    }
    let says_something = |read: &&&Read| read.version != (0, 0) || !read.value.is_empty();
    reads.iter().filter(says_something).find_map(|read| {
        let write = by_version.get(&(read.version, read.value.as_str()));
        let what = match write {
            Some(write) if write.call_us <= read.return_us => return None,
            Some(write) => format!("which was only sent at {}", seconds(write.call_us)),
            None => "which nobody has written".to_owned(),
        };
        let sentence = format!(
            "{} told {} at {} that {} holds \"{}\" (token {}, write {}), {what}. It should have \
             been something that was written.",
            read.node,
            read.reader,
            seconds(read.return_us),
            read.lock,
            read.value,
            read.version.0,
            read.version.1,
        );
        Some(of_read(read, sentence, read.call_us))
    })
}

/// A read that returned less than what had been written or read before it was sent.
fn went_back(writes: &[&Write], reads: &[&Read]) -> Option<Finding> {
    let mut done = written(writes);
    done.extend(reads.iter().map(|read| Done {
        process: read.process,
        place: read.place,
        at_us: read.return_us,
        version: read.version,
        what: format!(
            "{}'s read of write {} under token {}",
            read.reader, read.version.1, read.version.0
        ),
        who: &read.reader,
    }));
    let past = Past::new(done);
    let mut by_call: Vec<_> = reads.iter().collect();
    by_call.sort_by_key(|read| read.call_us);
    by_call.into_iter().find_map(|read| {
        let before = past.before(read.call_us, read.process, read.place)?;
        (read.version < before.version).then(|| {
            let sentence = format!(
                "{} read {} at {} and was told by {} at {} what token {} had written as number {}, \
                 after {} had returned at {}. It should have been that, or something newer.",
                read.reader,
                read.lock,
                seconds(read.call_us),
                read.node,
                seconds(read.return_us),
                read.version.0,
                read.version.1,
                before.what,
                seconds(before.at_us),
            );
            of_read(read, sentence, before.at_us)
        })
    })
}

fn of_read(read: &Read, sentence: String, since_us: u64) -> Finding {
    Finding { sentence, since_us, at_us: read.return_us, clients: vec![read.reader.clone()] }
}

/// A write that was told FENCED though nothing newer had been sent.
fn barred(writes: &[&Write]) -> Option<Finding> {
    let sent = writes.iter().map(|write| Done {
        process: write.process,
        place: write.place,
        at_us: write.call_us,
        version: write.version,
        what: write.name(),
        who: &write.owner,
    });
    let past = Past::new(sent.collect());
    let fenced = writes.iter().filter_map(|write| match write.returned {
        Some((at_us, Told::Fenced)) => Some((at_us, *write)),
        _ => None,
    });
    let mut by_return: Vec<_> = fenced.collect();
    by_return.sort_by_key(|(at_us, _)| *at_us);
    by_return.into_iter().find_map(|(at_us, write)| {
        // What others send at the same moment may have been first.
        let before = past.before(at_us.saturating_add(1), write.process, write.place);
        before.is_none_or(|before| before.version <= write.version).then(|| {
            let sentence = format!(
                "{} of {} was told FENCED at {}, though nobody had sent a newer one. It should \
                 have been OK.",
                write.name(),
                write.lock,
                seconds(at_us),
            );
            let clients = vec![write.owner.clone()];
            Finding { sentence, since_us: write.call_us, at_us, clients }
        })
    })
}

/// A write that is sent in calm is told OK or FENCED within `bound_us`. `end_us` is the end of the
/// run.
pub fn answered(writes: &[Write], bound_us: u64, weather: &Weather, end_us: u64) -> Option<Late> {
    writes.iter().find_map(|write| {
        if weather.calm_from(write.call_us, bound_us) > write.call_us {
            return None;
        }
        let at_us = write.returned.map_or(end_us, |(at_us, _)| at_us);
        let took_us = at_us.saturating_sub(write.call_us);
        (took_us > bound_us).then(|| {
            let sentence = format!(
                "{} of {} was sent at {} and had no answer for {}. It should have been answered \
                 within {}.",
                write.name(),
                write.lock,
                seconds(write.call_us),
                seconds(took_us),
                seconds(bound_us),
            );
            let clients = vec![write.owner.clone()];
            let finding = Finding { sentence, since_us: write.call_us, at_us, clients };
            Late { finding, took_us, bound_us }
        })
    })
}
