//! What a replicated store is held against by what its nodes say: terms that survive, writes that
//! are done once, reads that a majority has confirmed, logs in which stays what must.

use std::slice::from_ref;

use harness::{
    checker::Restart,
    labs::kv::{
        logs::{Answer, Grant, Position, Shown, not_kept, not_saved, taken_back, voted_for_less},
        reads::{Exchange, Read, unconfirmed},
        sessions::{Outcome, Told, done_once},
        terms::{Word, forgotten},
    },
};

fn word(term: u64, since_us: u64, at_us: u64) -> Word<'static> {
    Word { node: "n1", to: "n2", term, since_us, at_us, binds: true }
}

fn restart(node: &str, fell_us: u64, back_us: u64) -> Restart {
    Restart { node: node.to_owned(), fell_us, back_us }
}

#[test]
fn a_term_that_was_spoken_of_is_known_after_a_restart() {
    let restarts = [restart("n1", 100, 200)];
    let forgets = [word(5, 50, 50), word(4, 210, 220)];
    let found = forgotten(&forgets, &restarts).unwrap();
    assert_eq!((found.since_us, found.at_us), (50, 220));
    assert!(found.sentence.starts_with("n1 was in term 5 when it told n2"), "{}", found.sentence);
    assert_eq!(forgotten(&forgets, &[restart("n2", 100, 200)]), None, "another node fell");
    // What was under way before the fall, what is as new, and what bound nobody.
    assert_eq!(forgotten(&[word(5, 50, 50), word(4, 190, 220)], &restarts), None);
    assert_eq!(forgotten(&[word(5, 50, 50), word(5, 210, 220)], &restarts), None);
    let asks = Word { binds: false, ..word(5, 50, 50) };
    assert_eq!(forgotten(&[asks, word(4, 210, 220)], &restarts), None);
    // After the last fall, too, and if more was forgotten later.
    let twice = [restart("n1", 100, 200), restart("n1", 300, 400)];
    assert!(forgotten(&[word(5, 50, 50), word(5, 210, 220), word(3, 410, 420)], &twice).is_some());
}

fn told(seq: u64, delivered_us: u64, told_us: u64, done: bool) -> Told<'static> {
    let outcome = if done { Outcome::Done } else { Outcome::Mismatch(Some("c2.1 ".to_owned())) };
    Told { client: "c1", seq, node: "n1", delivered_us, told_us, outcome }
}

#[test]
fn a_write_comes_to_one_thing_however_often_it_is_asked_for() {
    assert_eq!(done_once(&[told(1, 10, 20, false), told(1, 30, 40, false)]), None);
    let found = done_once(&[told(1, 30, 40, true), told(1, 10, 20, false)]).unwrap();
    assert_eq!((found.since_us, found.at_us), (20, 40));
    assert!(
        found.sentence.contains("came to MISMATCH (\"c2.1 \" was there), and n1 told it OK at"),
        "{}",
        found.sentence
    );
    let now_empty = Told { outcome: Outcome::Mismatch(None), ..told(1, 30, 40, false) };
    let found = done_once(&[told(1, 10, 20, false), now_empty]).unwrap();
    assert!(found.sentence.contains("told it MISMATCH (nothing was there)"), "{}", found.sentence);
    let other = Told { client: "c2", ..told(1, 30, 40, true) };
    assert_eq!(done_once(&[told(1, 10, 20, false), other]), None, "another client's");
}

#[test]
fn a_write_that_comes_after_a_newer_one_is_stale() {
    let newer = told(2, 10, 20, true);
    assert!(
        done_once(&[newer.clone(), told(1, 21, 30, true)]).unwrap().sentence.ends_with("STALE.")
    );
    assert!(done_once(&[newer.clone(), told(1, 21, 30, false)]).is_some());
    // It arrived before the newer one was known to be done, or is the newer one.
    assert_eq!(done_once(&[newer.clone(), told(1, 20, 30, true)]), None);
    assert_eq!(done_once(&[newer.clone(), told(3, 21, 30, true), told(3, 25, 40, true)]), None);
}

fn read(delivered_us: u64, told_us: u64) -> Read<'static> {
    Read { node: "n1", client: "c1", key: "k1".to_owned(), delivered_us, told_us }
}

fn exchange(peer: &'static str, sent_us: u64, answered_us: u64) -> Exchange<'static> {
    Exchange { node: "n1", peer, sent_us, answered_us }
}

#[test]
fn a_read_waits_until_a_majority_has_answered_since() {
    let confirmed = |reads: &[Read<'_>], exchanges: &[Exchange<'_>], nodes| {
        unconfirmed(reads, exchanges, nodes).is_none()
    };
    let in_time = exchange("n2", 10, 20);
    assert!(confirmed(&[read(10, 20)], &[in_time], 3));
    assert!(confirmed(&[read(10, 20)], &[exchange("n2", 5, 8), in_time], 3));
    // Asked too early, or answered too late, or by too few.
    assert!(!confirmed(&[read(11, 20)], &[in_time], 3));
    assert!(!confirmed(&[read(10, 19)], &[in_time], 3));
    assert!(!confirmed(&[read(10, 20)], &[in_time, exchange("n2", 11, 19)], 5));
    assert!(confirmed(&[read(10, 20)], &[in_time, exchange("n3", 11, 19)], 5));
    // An answer that came late does not hide an earlier one to a later question.
    assert!(confirmed(&[read(10, 20)], &[exchange("n2", 12, 90), exchange("n2", 13, 18)], 3));
    // Another leader's round.
    assert!(!confirmed(&[read(10, 20)], &[Exchange { node: "n3", ..in_time }], 3));
    let found = unconfirmed(&[read(11, 20)], &[in_time], 3).unwrap();
    assert!(found.sentence.starts_with("n1 was asked for k1 by c1"), "{}", found.sentence);
}

/// What n1 showed n2 in `term`: the entries after `before`, sent at `at_us`, and delivered at once.
fn shown(term: u64, before: (u64, u64), terms: &[u64], at_us: u64) -> Shown<'static> {
    let before = Position { term: before.0, index: before.1 };
    let (leader, peer, terms, commit) = ("n1", "n2", terms.to_vec(), 0);
    let (sent_us, delivered_us, answer) = (at_us, Some(at_us), None);
    Shown { leader, peer, term, before, terms, commit, sent_us, delivered_us, answer }
}

#[test]
fn what_is_committed_is_in_the_log_of_every_later_leader() {
    let first = |commit| Shown { commit, ..shown(1, (0, 0), &[1, 1, 1], 10) };
    let later = |before, terms: &[u64]| Shown { leader: "n3", ..shown(2, before, terms, 20) };
    let kept = |logs: &[Shown<'_>]| not_kept(logs).is_none();
    assert!(kept(&[first(3), later((1, 3), &[2])]));
    assert!(!kept(&[first(3), later((1, 2), &[2])]), "it has 2 entries and goes on with the third");
    assert!(kept(&[first(2), later((1, 2), &[2])]), "the third was not committed");
    assert!(!kept(&[first(3), later((2, 3), &[])]), "a snapshot, or a question, tells of an entry");
    assert!(kept(&[first(3), later((0, 3), &[])]), "it does not know the term");
    // The commit was told later, and by another message, but of the same term.
    let said = Shown { commit: 3, ..shown(1, (1, 3), &[], 15) };
    assert!(!kept(&[first(0), later((1, 2), &[2]), said.clone()]));
    assert!(kept(&[first(0), later((1, 2), &[2]), Shown { term: 2, ..said }]));
    // An earlier leader does not know of it; what comes late proves nothing.
    assert!(kept(&[later((1, 2), &[2]), shown(1, (0, 0), &[1, 1, 1], 30)]));
    let found = not_kept(&[first(3), later((1, 2), &[2])]).unwrap();
    assert_eq!((found.since_us, found.at_us), (10, 20));
    assert!(found.sentence.contains("up to 3, with the entry 3 of term 1."), "{}", found.sentence);
}

#[test]
fn what_a_follower_said_it_has_it_has_later() {
    let has = Shown { answer: Some((Answer::Has(3), 15)), ..shown(1, (0, 0), &[1, 1, 1], 10) };
    let lacks = |index, at_us| {
        let answer = Some((Answer::Lacks(None), at_us + 5));
        Shown { answer, ..shown(1, (1, index), &[], at_us) }
    };
    let keeps = |later: Shown<'_>| taken_back(&[later, has.clone()]).is_none();
    assert!(!keeps(lacks(3, 20)));
    assert!(!keeps(lacks(2, 20)));
    assert!(keeps(lacks(4, 20)), "more than it said");
    assert!(keeps(lacks(3, 14)), "it was asked before it had answered");
    assert!(keeps(Shown { term: 2, ..lacks(3, 20) }), "another leader's log");
    assert!(keeps(Shown { peer: "n3", ..lacks(3, 20) }), "another follower");
    // A snapshot may stand for what is committed, as far as it knows.
    let committed = |commit| Shown { commit, ..shown(1, (1, 3), &[], 16) };
    assert!(taken_back(&[has.clone(), committed(3), lacks(2, 20)]).is_none());
    assert!(taken_back(&[has.clone(), committed(3), lacks(3, 20)]).is_some());
    let beat = |commit| Shown { before: Position { term: 0, index: 0 }, ..committed(commit) };
    assert!(taken_back(&[has.clone(), beat(3), lacks(2, 20)]).is_none());
    assert!(taken_back(&[has.clone(), beat(9), lacks(3, 20)]).is_some(), "it has seen no more");
    assert!(taken_back(&[has.clone(), committed(3), lacks(2, 14)]).is_none(), "heard in between");
    // But not if it says itself that its log ends before.
    let ends = |index| Shown { answer: Some((Answer::Lacks(Some(index)), 25)), ..lacks(2, 20) };
    assert!(taken_back(&[has.clone(), committed(3), ends(1)]).is_some());
    assert!(
        taken_back(&[has.clone(), committed(3), ends(2)]).is_none(),
        "or asks for an earlier one"
    );
    assert!(taken_back(&[has.clone(), committed(3), ends(4)]).is_none());
    // What was committed is there for every later leader.
    let asks =
        |end| Shown { term: 2, leader: "n3", before: Position { term: 2, index: 9 }, ..ends(end) };
    let kept = Shown { commit: 3, ..has.clone() };
    assert!(taken_back(&[kept.clone(), asks(4)]).is_none());
    assert!(taken_back(&[has.clone(), asks(3)]).is_none(), "nobody knew that it was committed");
    let found = taken_back(&[kept.clone(), asks(3)]).unwrap();
    assert!(
        found.sentence.contains("up to 3, all of it committed, and n3 at"),
        "{}",
        found.sentence
    );
    assert!(not_saved(&[kept.clone(), asks(3)], &[restart("n2", 16, 17)]).is_some());
    assert_eq!(not_saved(&[kept, asks(3)], &[restart("n3", 16, 17)]), None);
    // Nor if it says what it has instead.
    let differs = |term| Shown { answer: Some((Answer::Differs(term), 25)), ..lacks(2, 20) };
    assert!(taken_back(&[has.clone(), committed(3), differs(2)]).is_some());
    assert!(taken_back(&[has.clone(), committed(3), differs(1)]).is_none(), "the very entry");
    let led = Shown { leader: "n2", peer: "n1", ..shown(0, (1, 3), &[], 5) };
    assert!(taken_back(&[has.clone(), led, lacks(2, 20)]).is_none(), "known when it led");
    let unknown = Shown { before: Position { term: 0, index: 3 }, ..lacks(3, 20) };
    assert!(taken_back(&[has.clone(), unknown]).is_none(), "of a term that was not said");
    let log = [has, lacks(2, 20)];
    assert_eq!(not_saved(&log, &[restart("n1", 16, 17), restart("n2", 14, 16)]), None);
    assert_eq!(not_saved(&log, &[restart("n2", 16, 17)]), taken_back(&log));
    let found = taken_back(&log).unwrap();
    assert_eq!((found.since_us, found.at_us), (15, 25));
    assert!(found.sentence.starts_with("n2 told n1, the leader of term 1"), "{}", found.sentence);
}

#[test]
fn a_vote_goes_to_nobody_who_has_less_than_the_voter() {
    let has = Shown { answer: Some((Answer::Has(3), 15)), ..shown(2, (1, 1), &[2, 2], 10) };
    let grant = |term, index| {
        let last = Position { term, index };
        Grant { node: "n2", candidate: "n3", term: 3, last, delivered_us: 20, told_us: 25 }
    };
    let fits = |grant: Grant<'_>| voted_for_less(&[grant], from_ref(&has)).is_none();
    assert!(!fits(grant(2, 2)), "shorter");
    assert!(!fits(grant(1, 9)), "longer and older");
    assert!(fits(grant(2, 3)));
    assert!(fits(grant(3, 1)), "newer");
    assert!(fits(Grant { delivered_us: 12, ..grant(2, 2) }), "asked before it had them");
    assert!(fits(Grant { node: "n4", ..grant(2, 2) }), "another voter");
    let old = Shown { answer: Some((Answer::Has(1), 15)), ..shown(2, (1, 1), &[], 10) };
    assert!(voted_for_less(&[grant(1, 0)], from_ref(&old)).is_some());
    // What a later leader may have replaced, if only the one that was elected.
    let later = Grant { term: 4, ..grant(2, 2) };
    for term in [3, 4] {
        let heard = |at_us| [has.clone(), shown(term, (0, 0), &[], at_us)];
        assert!(voted_for_less(&[later], &heard(18)).is_none());
        assert!(voted_for_less(&[later], &heard(30)).is_some());
    }
    // What it was sent later may have made it cut its log, if that is how it takes things over.
    let again = |answer| [has.clone(), Shown { answer, ..shown(2, (1, 1), &[2], 17) }];
    assert!(voted_for_less(&[grant(2, 2)], &again(Some((Answer::Has(2), 18)))).is_none());
    assert!(voted_for_less(&[grant(2, 1)], &again(Some((Answer::Has(2), 18)))).is_some());
    assert!(voted_for_less(&[grant(2, 2)], &again(None)).is_none());
    assert!(voted_for_less(&[grant(2, 2)], &again(Some((Answer::Lacks(None), 18)))).is_some());
    assert!(voted_for_less(&[grant(2, 2)], &again(Some((Answer::Has(2), 14)))).is_some());
    let found = voted_for_less(&[grant(2, 2)], from_ref(&has)).unwrap();
    assert_eq!((found.since_us, found.at_us), (15, 25));
}
