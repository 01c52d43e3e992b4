//! What a replicated store is held against by what its nodes say: terms that survive, writes that
//! are done once, reads that a majority has confirmed.

use harness::checker::{
    reads::{Exchange, Read, unconfirmed},
    sessions::{Told, done_once},
    terms::{Restart, Word, forgotten},
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
    Told { client: "c1", seq, node: "n1", delivered_us, told_us, done }
}

#[test]
fn a_write_comes_to_one_thing_however_often_it_is_asked_for() {
    assert_eq!(done_once(&[told(1, 10, 20, false), told(1, 30, 40, false)]), None);
    let found = done_once(&[told(1, 30, 40, true), told(1, 10, 20, false)]).unwrap();
    assert_eq!((found.since_us, found.at_us), (20, 40));
    assert!(
        found.sentence.contains("came to MISMATCH, and n1 told it OK at"),
        "{}",
        found.sentence
    );
    let other = Told { client: "c2", ..told(1, 30, 40, true) };
    assert_eq!(done_once(&[told(1, 10, 20, false), other]), None, "another client's");
}

#[test]
fn a_write_that_comes_after_a_newer_one_is_stale() {
    let newer = told(2, 10, 20, true);
    assert!(done_once(&[newer, told(1, 21, 30, true)]).unwrap().sentence.ends_with("STALE."));
    assert!(done_once(&[newer, told(1, 21, 30, false)]).is_some());
    // It arrived before the newer one was known to be done, or is the newer one.
    assert_eq!(done_once(&[newer, told(1, 20, 30, true)]), None);
    assert_eq!(done_once(&[newer, told(3, 21, 30, true), told(3, 25, 40, true)]), None);
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
