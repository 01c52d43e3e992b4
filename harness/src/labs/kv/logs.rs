//! Logs, by what nodes say of them: what is committed is in the log of every later leader, what a
//! follower said it has it has after a crash, and a vote goes to nobody who has less than the voter
//! (Ongaro and Ousterhout 2014, figures 2 and 3, section 5.4.1).

use std::collections::BTreeMap;

use crate::checker::{Finding, Restart, seconds};

/// Where an entry is, ordered as section 5.4.1 orders the ends of two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term in which the entry was made.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A leader showed another node a part of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The leader.
    pub leader: &'a str,
    /// The other.
    pub peer: &'a str,
    /// The term that it leads.
    pub term: u64,
    /// The entry before those it showed; a snapshot ends with it. Of term 0: it did not say which.
    pub before: Position,
    /// The terms of the entries after it.
    pub terms: Vec<u64>,
    /// Up to where it said that its log is committed.
    pub commit: u64,
    /// When it was sent, in microseconds since the start of the run.
    pub sent_us: u64,
    /// When it had reached the other, if it did.
    pub delivered_us: Option<u64>,
    /// What the other said to it as a follower in that term, and when.
    pub answer: Option<(Answer, u64)>,
}

/// What a follower said of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the leader's up to here.
    Has(u64),
    /// It does not have the entry before those that it was shown. Its log ends before this index,
    /// if it says that this is why.
    Lacks(Option<u64>),
    /// It has an entry of this term in the place of the one before those that it was shown.
    Differs(u64),
}

/// A node gave its vote, and not only the prospect of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The voter.
    pub node: &'a str,
    /// Whom it elected.
    pub candidate: &'a str,
    /// For which term.
    pub term: u64,
    /// Where the candidate's log ends.
    pub last: Position,
    /// When it was asked, in microseconds since the start of the run.
    pub delivered_us: u64,
    /// When it had answered.
    pub told_us: u64,
}

impl Shown<'_> {
    /// The index of the last entry that it tells of.
    fn last(&self) -> u64 {
        self.before.index.saturating_add(self.terms.len() as u64)
    }

    /// Every entry that it tells of.
    fn positions(&self) -> impl Iterator<Item = Position> {
        let after = (self.before.index.saturating_add(1)..=u64::MAX).zip(&self.terms);
        let after = after.map(|(index, term)| Position { term: *term, index });
        std::iter::once(self.before).filter(|before| before.term > 0).chain(after)
    }

    /// The last entry that the other said it has, if this told of it.
    fn acknowledged(&self) -> Option<(Position, u64)> {
        let (Answer::Has(last), told_us) = self.answer? else { return None };
        Some((self.positions().find(|position| position.index == last)?, told_us))
    }
}

/// What a leader has shown of its log in its term, in which it only ever grows.
#[derive(Default)]
struct Leader<'a> {
    entries: BTreeMap<u64, (u64, &'a Shown<'a>)>,
    /// Up to where it is committed, and by what it said so.
    commit: Option<&'a Shown<'a>>,
}

/// The first entry that was committed by one leader and is not in the log of a later one.
pub fn not_kept<'a>(shown: &'a [Shown<'a>]) -> Option<Finding> {
    let mut leaders: BTreeMap<u64, Leader<'_>> = BTreeMap::new();
    for it in shown {
        let leader = leaders.entry(it.term).or_default();
        for position in it.positions() {
            leader.entries.entry(position.index).or_insert((position.term, it));
        }
        leader.commit = leader.commit.filter(|said| said.commit >= it.commit).or(Some(it));
    }
    let mut committed: BTreeMap<u64, (u64, &Shown<'_>)> = BTreeMap::new();
    leaders.into_values().find_map(|leader| {
        let another = leader.entries.iter().find_map(|(index, (term, by))| {
            let (committed_term, said) = committed.get(index)?;
            let entry = Position { term: *committed_term, index: *index };
            (term != committed_term).then(|| replaced(entry, said, *term, by))
        });
        let said = leader.commit?;
        let safe = leader.entries.range(..=said.commit);
        committed.extend(safe.map(|(index, (term, _))| (*index, (*term, said))));
        another
    })
}

fn replaced(entry: Position, said: &Shown<'_>, term: u64, by: &Shown<'_>) -> Finding {
    let sentence = format!(
        "{} led term {} and told {} at {} that it had committed up to {}, with the entry {} of \
         term {}. {} led term {} and showed {} at {} that it has an entry of term {term} in that \
         place. What is committed should be in the log of every later leader.",
        said.leader,
        said.term,
        said.peer,
        seconds(said.sent_us),
        said.commit,
        entry.index,
        entry.term,
        by.leader,
        by.term,
        by.peer,
        seconds(by.sent_us),
    );
    found(said.sent_us.min(by.sent_us), said.sent_us.max(by.sent_us), sentence)
}

/// The first follower that said it has entries, and after a restart that it lacks them: to the same
/// leader, or to any if they were committed.
pub fn not_saved(shown: &[Shown<'_>], restarts: &[Restart]) -> Option<Finding> {
    let fell = |node: &str, from_us, until_us| {
        let mut falls = restarts.iter().filter(|it| it.node == node).map(|it| it.fell_us);
        falls.any(|fell_us| (from_us..until_us).contains(&fell_us))
    };
    taken_back_if(shown, fell).or_else(|| committed_taken_back_if(shown, fell))
}

/// The same, whether it was restarted or not.
pub fn taken_back(shown: &[Shown<'_>]) -> Option<Finding> {
    taken_back_if(shown, |_, _, _| true).or_else(|| committed_taken_back_if(shown, |_, _, _| true))
}

/// A follower that said it has what was committed, and to whomever that its log ends before, if it
/// counts that it lacks what it had between these two moments.
fn committed_taken_back_if(
    shown: &[Shown<'_>],
    counts: impl Fn(&str, u64, u64) -> bool,
) -> Option<Finding> {
    shown.iter().find_map(|it| {
        let (Answer::Lacks(Some(ends)), lacks_us) = it.answer? else { return None };
        let delivered_us = it.delivered_us?;
        let told = shown.iter().filter(|told| told.peer == it.peer).filter_map(|told| {
            let (has, told_us) = told.acknowledged()?;
            (told_us < delivered_us).then_some((has.index.min(told.commit), told_us, told.leader))
        });
        let (has, has_us, leader) = told.max_by_key(|(has, ..)| *has)?;
        // As above: a smaller index than that of the entry it was asked about.
        let is_sure = ends < it.before.index && ends <= has;
        (is_sure && counts(it.peer, has_us, lacks_us)).then(|| {
            let sentence = format!(
                "{} told {leader} at {} that it has the log up to {has}, all of it committed, and \
                 {} at {} that its log ends before {ends}. What it says it has should be on its \
                 disk, and stay.",
                it.peer,
                seconds(has_us),
                it.leader,
                seconds(lacks_us),
            );
            found(has_us, lacks_us, sentence)
        })
    })
}

/// Such a follower, if it counts that this node lacks what it had between these two moments.
fn taken_back_if(shown: &[Shown<'_>], counts: impl Fn(&str, u64, u64) -> bool) -> Option<Finding> {
    let mut told: BTreeMap<(u64, &str), Vec<(Position, u64)>> = BTreeMap::new();
    for it in shown {
        told.entry((it.term, it.peer)).or_default().extend(it.acknowledged());
    }
    shown.iter().find_map(|it| {
        let (delivered_us, (answer, lacks_us)) = (it.delivered_us?, it.answer?);
        // Whether it says more than a snapshot explains, which may have taken the entry's place.
        let is_sure = match answer {
            Answer::Has(_) => return None,
            // An answer that names the very entry it was asked about may only mean "one earlier"; a
            // smaller one says that the log ends there.
            Answer::Lacks(ends) => ends.is_some_and(|index| index < it.before.index),
            Answer::Differs(term) => term != it.before.term,
        };
        let told = told[&(it.term, it.peer)].iter().filter(|(_, told_us)| *told_us < delivered_us);
        let (has, has_us) = *told.max_by_key(|(has, _)| has.index)?;
        let is_due = counts(it.peer, has_us, lacks_us)
            && (1..=has.index).contains(&it.before.index)
            && it.before.term > 0
            && (is_sure || it.before.index >= may_be_compacted(shown, it.peer, lacks_us));
        is_due.then(|| {
            let sentence = format!(
                "{} told {}, the leader of term {}, at {} that it has the log up to {}, and at {} \
                 that it lacks the entry {}. What it says it has should be on its disk, and stay.",
                it.peer,
                it.leader,
                it.term,
                seconds(has_us),
                has.index,
                seconds(lacks_us),
                it.before.index,
            );
            found(has_us, lacks_us, sentence)
        })
    })
}

/// Up to where a snapshot may have taken the place of entries in the log of `node`: no further than
/// it had seen entries by then, and had been told that they are committed.
fn may_be_compacted(shown: &[Shown<'_>], node: &str, by_us: u64) -> u64 {
    let heard = |it: &&Shown<'_>| {
        it.peer == node
            && it.delivered_us.is_some_and(|us| us <= by_us)
            && !matches!(it.answer, Some((Answer::Lacks(_) | Answer::Differs(_), _)))
    };
    let heard = || shown.iter().filter(heard);
    let committed = heard().map(|it| it.commit).max().unwrap_or_default();
    let seen = heard().map(Shown::last).max().unwrap_or_default();
    // A leader knows first what is committed.
    let led = shown.iter().filter(|it| it.leader == node && it.sent_us <= by_us);
    committed.min(seen).max(led.map(Shown::last).max().unwrap_or_default())
}

/// The first vote for a candidate whose log ended before one that the voter had said it has, and
/// was not made to give up since: whoever cuts its log for whatever it is sent may vote by what is
/// left.
pub fn voted_for_less(grants: &[Grant<'_>], shown: &[Shown<'_>]) -> Option<Finding> {
    grants.iter().find_map(|grant| {
        let own = || shown.iter().filter(|it| it.peer == grant.node && it.term <= grant.term);
        // What a leader was told stays until a later one is heard.
        let is_there = |it: &&Shown<'_>| it.delivered_us.is_some_and(|us| us <= grant.told_us);
        let arrived: Vec<_> = own().filter(is_there).collect();
        let latest = arrived.iter().map(|it| it.term).max().filter(|it| *it < grant.term)?;
        let told = arrived.iter().filter(|it| it.term == latest);
        let told = told.filter_map(|it| it.acknowledged());
        let told = told.filter(|(has, told_us)| {
            *told_us < grant.delivered_us && !is_cut(&arrived, *told_us, has.index)
        });
        let (has, has_us) = told.max_by_key(|(has, _)| has.index)?;
        (grant.last < has).then(|| {
            let sentence = format!(
                "{} said at {} that it has the entry {} of term {}, and voted at {} for {}, whose \
                 log ended with the entry {} of term {}. A vote should go to nobody who has less \
                 than the voter: the later last term decides, and then the longer log.",
                grant.node,
                seconds(has_us),
                has.index,
                has.term,
                seconds(grant.told_us),
                grant.candidate,
                grant.last.index,
                grant.last.term,
            );
            found(has_us, grant.told_us, sentence)
        })
    })
}

/// Whether something that ended before `index` may have been taken over after that moment.
fn is_cut(arrived: &[&Shown<'_>], after_us: u64, index: u64) -> bool {
    arrived.iter().any(|it| {
        let taken_over_us = match it.answer {
            Some((Answer::Has(_), told_us)) => Some(told_us),
            Some((Answer::Lacks(_) | Answer::Differs(_), _)) => None,
            // It fell meanwhile, or knew of a later leader.
            None => it.delivered_us,
        };
        it.last() < index && taken_over_us.is_some_and(|us| us > after_us)
    })
}

fn found(since_us: u64, at_us: u64, sentence: String) -> Finding {
    Finding { sentence, since_us, at_us, clients: Vec::new() }
}
