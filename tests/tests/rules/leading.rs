//! What a replicated store is held against besides its values: one leader a term, and writes that
//! succeed while enough nodes can speak to each other.

use harness::{
    checker::progress::{Write, stalled},
    fabric::{
        fault::{Fault, Mode, Shape, Struck},
        weather::Weather,
    },
    labs::kv::leaders::{Claim, Vote, replaced, two_in_a_term, voted_twice},
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn weather(faults: &[(Fault, u64, u64)]) -> Weather {
    let struck = faults.iter().map(|(fault, at_us, until_us)| Struck {
        entry: 0,
        fault: fault.clone(),
        at_us: *at_us,
        until_us: *until_us,
        message: None,
    });
    Weather::new(&struck.collect::<Vec<_>>(), &names(&["n1", "n2", "n3"]))
}

fn kill(nodes: &[&str]) -> Fault {
    Fault::Kill { nodes: names(nodes) }
}

fn cut(node: &str, shape: Shape) -> Fault {
    Fault::Cut { nodes: names(&[node]), shape, mode: Mode::Silent }
}

#[test]
fn two_leaders_of_one_term_are_found_and_two_of_two_terms_are_fine() {
    let claim = |term, node, at_us| Claim { term, node, at_us };
    let fine = [claim(1, "n1", 10), claim(2, "n2", 20), claim(1, "n1", 30), claim(2, "n2", 40)];
    assert_eq!(two_in_a_term(&fine), None);
    let found = two_in_a_term(&[claim(2, "n3", 50), fine[0], fine[1]]).unwrap();
    assert_eq!((found.since_us, found.at_us), (20, 50));
    assert!(found.sentence.starts_with("n2 sent entries as the leader of term 2"));
}

#[test]
fn a_leader_that_hears_a_majority_is_not_replaced() {
    let claim = |term, node, at_us| Claim { term, node, at_us };
    let late = |claims: &[Claim<'_>], faults: &[(Fault, u64, u64)]| {
        replaced(claims, 300, &weather(faults)).is_some()
    };
    let kept = [claim(1, "n1", 10), claim(2, "n2", 200), claim(2, "n2", 900), claim(1, "n1", 950)];
    let again = [&kept[..], &[claim(3, "n1", 800)]].concat();
    // One node is gone, or is heard and hears nobody.
    for fault in [kill(&["n3"]), cut("n3", Shape::Incoming)] {
        let faults = [(fault, 100, 1000)];
        assert!(!late(&kept, &faults));
        assert!(late(&again, &faults));
        assert!(late(&[kept[0], again[4]], &faults));
    }
    // It was itself what was gone, or was back for less than that.
    assert!(!late(&again, &[(kill(&["n2"]), 700, 1000)]));
    assert!(!late(&again, &[(cut("n2", Shape::Incoming), 100, 510)]));
    assert!(late(&again, &[(cut("n2", Shape::Incoming), 100, 490)]));
}

#[test]
fn a_machine_that_stalled_just_before_may_have_silenced_a_leader() {
    let claim = |term, node, at_us| Claim { term, node, at_us };
    let claims = [claim(1, "n1", 10), claim(2, "n2", 9_000_000)];
    let late = replaced(&claims, 3_000_000, &weather(&[])).unwrap();
    // What is judged by how late the machine was is the last second, not all that was steady.
    assert_eq!((late.finding.since_us, late.finding.at_us), (8_000_000, 9_000_000));
    assert!(late.bound_us < late.took_us && late.took_us <= 1_000_000);
}

#[test]
fn two_votes_of_one_term_are_found_and_the_same_vote_twice_is_fine() {
    let vote = |term, node, candidate, at_us| Vote { term, node, candidate, at_us };
    let fine = [
        vote(1, "n1", "n1", 10),
        vote(1, "n2", "n1", 20),
        vote(2, "n2", "n3", 30),
        vote(1, "n2", "n1", 40),
        vote(1, "n3", "n3", 50),
    ];
    assert_eq!(voted_twice(&fine), None);
    let another = [&fine[..], &[vote(2, "n2", "n1", 25)]].concat();
    let found = voted_twice(&another).unwrap();
    assert_eq!((found.since_us, found.at_us), (25, 30));
    assert!(found.sentence.starts_with("n2 voted for n1 in term 2 by"), "{}", found.sentence);
    // Who stands has voted for itself.
    let found = voted_twice(&[&fine[..], &[vote(1, "n1", "n3", 60)]].concat()).unwrap();
    assert!(found.sentence.contains("n1 voted for itself in term 1"), "{}", found.sentence);
}

#[test]
fn a_majority_is_steady_whatever_becomes_of_the_others() {
    // One node is gone, or can only hear, or only speak: two are left.
    for fault in [kill(&["n1"]), cut("n1", Shape::Both), cut("n1", Shape::Incoming)] {
        assert_eq!(weather(&[(fault, 100, 900)]).steady_from(200, 300), 200);
    }
    assert_eq!(weather(&[(kill(&["n1", "n2"]), 100, 900)]).steady_from(200, 300), 900);
    // It must be the same majority all the time: a node that falls while another comes back.
    let changing = weather(&[(kill(&["n1"]), 100, 500), (kill(&["n2"]), 500, 900)]);
    assert_eq!((changing.steady_from(200, 300), changing.steady_from(200, 301)), (200, 500));
    // Links that lose messages are not steady, for as long as their senders may wait.
    assert!(weather(&[(Fault::DropReply, 100, 100)]).steady_from(150, 10) > 500_000);
    assert_eq!(Weather::default().steady_from(7, 100), 7);
}

#[test]
fn a_store_that_stands_still_is_late_and_one_that_nobody_asks_is_not() {
    let write = |call_us, until_us| Write { call_us, until_us, is_done: true };
    let given_up = |call_us, until_us| Write { call_us, until_us, is_done: false };
    let calm = weather(&[]);
    let late = |writes: &[Write]| stalled(writes, 1000, &calm, 5000).map(|late| late.took_us);
    assert_eq!(late(&[write(0, 900), write(950, 1900)]), None);
    assert_eq!(late(&[write(0, 900), given_up(950, u64::MAX)]), Some(4050));
    assert_eq!(late(&[write(0, 900), given_up(950, 2500)]), Some(4050));
    assert_eq!(late(&[write(0, 900), write(950, 2100)]), Some(1150));
    // Somebody else's write is progress, too,
    assert_eq!(late(&[given_up(0, 800), write(0, 900), given_up(4500, u64::MAX)]), None);
    // but not for ever: whoever waited then goes on waiting.
    assert_eq!(late(&[given_up(0, 3000), write(0, 900)]), Some(4100));
    // Nobody can succeed without a majority, and the bound begins when there is one.
    let storm = weather(&[(kill(&["n1", "n2"]), 0, 3000)]);
    let writes = [write(100, 3900)];
    assert_eq!(stalled(&writes, 1000, &storm, 5000), None);
    assert_eq!(stalled(&writes, 800, &storm, 5000).map(|late| late.took_us), Some(900));
}
