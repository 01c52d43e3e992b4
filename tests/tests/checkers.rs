//! Checkers on histories made by hand: the good ones pass, the bad ones are told in plain words.

use harness::checker::{
    leases::{self, Attempt, Grant, Released, Reliance},
    requests::{self, Answer, ClaimEnded, EndedBy, Outcome},
};

fn reliance(owner: &str, token: u64, from_us: u64, until_us: u64) -> Reliance {
    let (lock, owner) = ("lock-1".to_owned(), owner.to_owned());
    Reliance { lock, token, owner, told_us: from_us, from_us, until_us }
}

fn grant(owner: &str, request_no: u64, token: u64, asked_us: u64, told_us: u64) -> Grant {
    let (lock, owner, node) = ("lock-1".to_owned(), owner.to_owned(), "n1".to_owned());
    Grant { lock, token, owner, request_no, node, asked_us, told_us }
}

#[test]
fn holders_that_follow_each_other_are_right() {
    let held =
        [reliance("c1", 1, 0, 100), reliance("c2", 2, 100, 200), reliance("c1", 3, 250, 300)];
    assert_eq!(leases::disjoint(&held), None);
    // A lease that had run out before its grant returned was never relied on.
    assert_eq!(leases::disjoint(&[reliance("c1", 1, 0, 100), reliance("c2", 2, 50, 40)]), None);
    // Other locks are other locks.
    let other = Reliance { lock: "lock-2".into(), ..reliance("c2", 2, 50, 150) };
    assert_eq!(leases::disjoint(&[reliance("c1", 1, 0, 100), other]), None);
}

#[test]
fn two_holders_at_once_are_wrong() {
    let finding =
        leases::disjoint(&[reliance("c1", 1, 0, 100_000), reliance("c2", 2, 99_000, 120_000)]);
    let finding = finding.expect("they overlap");
    assert!(finding.sentence.contains("c2 was granted lock-1 with token 2 at 0.099 s"));
    assert!(finding.sentence.contains("should have been told HELD"));
    assert_eq!(finding.clients, ["c2", "c1"]);
    // A long one covers short ones that come between.
    let held = [reliance("c1", 1, 0, 500), reliance("c1", 1, 10, 20), reliance("c2", 2, 400, 450)];
    assert!(leases::disjoint(&held).is_some());
}

#[test]
fn tokens_that_grow_are_right() {
    let grants = [
        grant("c1", 1, 1, 0, 10),
        // The same request is told the same token again.
        grant("c1", 1, 1, 0, 40),
        grant("c2", 1, 2, 20, 30),
        // Asked while token 2 was being granted: either order is right.
        grant("c3", 1, 4, 25, 60),
        grant("c4", 1, 3, 26, 70),
    ];
    assert_eq!(leases::tokens_grow(&grants), None);
}

#[test]
fn a_token_told_to_two_requests_is_wrong() {
    let twice = [grant("c1", 1, 1, 0, 10), grant("c2", 5, 1, 5, 20)];
    let finding = leases::tokens_grow(&twice).expect("token 1 is told twice");
    assert!(finding.sentence.contains("c2 (request 5)"), "{}", finding.sentence);
    // The same owner with another request is another request.
    assert!(leases::tokens_grow(&[grant("c1", 1, 1, 0, 10), grant("c1", 2, 1, 20, 30)]).is_some());
}

#[test]
fn a_token_that_goes_back_is_wrong() {
    let back = [grant("c1", 1, 7, 0, 10), grant("c2", 1, 6, 20, 30)];
    let finding = leases::tokens_grow(&back).expect("6 comes after 7");
    assert!(finding.sentence.contains("token 7 had been told to c1"), "{}", finding.sentence);
    // Asked before the other was told: no order between them.
    assert_eq!(leases::tokens_grow(&[grant("c1", 1, 7, 0, 10), grant("c2", 1, 6, 9, 30)]), None);
}

#[test]
fn a_released_lock_must_be_granted_to_who_asks() {
    let lock = "lock-1".to_owned();
    let released = [Released { lock: lock.clone(), token: 4, at_us: 100 }];
    let asked =
        |asked_us| Attempt { lock: lock.clone(), owner: "c2".into(), asked_us, granted_us: None };
    let late = |attempts: &[Attempt], grants: &[Grant]| {
        leases::granted_again(&released, attempts, grants, 500, 2000)
    };
    assert_eq!(late(&[asked(150), asked(300)], &[grant("c2", 9, 5, 300, 400)]), None);
    // Nobody asks, nobody waits.
    assert_eq!(late(&[], &[]), None);
    assert_eq!(late(&[asked(1800)], &[]), None);
    // It went to an old request whose client no longer listens: it was granted all the same.
    assert_eq!(late(&[asked(150)], &[grant("c1", 1, 5, 10, 120)]), None);
    let found = late(&[asked(150), asked(900)], &[grant("c2", 9, 5, 900, 950)]);
    let found = found.expect("800 is more than 500");
    assert_eq!((found.took_us, found.bound_us), (800, 500));
    // The released token told once more is no new grant.
    let never = late(&[asked(150)], &[grant("c1", 8, 4, 50, 160)]);
    assert_eq!(never.expect("it never was").took_us, 1850);
}

fn answer(outcome: Outcome, delivered_us: u64, told_us: u64) -> Answer {
    Answer {
        lock: "lock-1".into(),
        owner: "c1".into(),
        request_no: 3,
        node: "n2".into(),
        asked_us: 0,
        delivered_us,
        told_us,
        outcome,
        lease_us: 500,
    }
}

#[test]
fn a_retry_that_gets_its_grant_again_is_right() {
    let granted = || Outcome::Granted(4);
    let held = || Outcome::Held { by: "c9".into() };
    assert_eq!(
        requests::one_grant_each(&[answer(granted(), 1, 2), answer(granted(), 9, 10)], &[]),
        None
    );
    // A copy that was delivered before the grant may have been refused.
    assert_eq!(
        requests::one_grant_each(&[answer(held(), 1, 30), answer(granted(), 5, 20)], &[]),
        None
    );
    // After its lease, or after its release, the request is over.
    let late = [answer(granted(), 1, 2), answer(Outcome::Stale, 600, 601)];
    assert_eq!(requests::one_grant_each(&late, &[]), None);
    let late = [answer(granted(), 1, 2), answer(held(), 600, 601)];
    assert_eq!(requests::one_grant_each(&late, &[]), None);
    for by in [EndedBy::Release(4), EndedBy::Request(4)] {
        let ended = ClaimEnded { lock: "lock-1".into(), owner: "c1".into(), by, at_us: 50 };
        let early = [answer(granted(), 1, 2), answer(Outcome::Stale, 60, 70)];
        assert_eq!(requests::one_grant_each(&early, &[ended]), None);
    }
}

#[test]
fn a_retry_that_gets_anything_else_is_wrong() {
    let granted = || answer(Outcome::Granted(4), 1, 2);
    for (outcome, told) in [
        (Outcome::Granted(5), "GRANTED with token 5"),
        (Outcome::Held { by: "c1".into() }, "HELD by c1"),
        (Outcome::Stale, "STALE"),
    ] {
        let answers = [granted(), answer(outcome, 60, 70)];
        let finding = requests::one_grant_each(&answers, &[]).expect(told);
        assert!(finding.sentence.contains(told), "{}", finding.sentence);
    }
    // However late a second token comes, it is one too many.
    let late = [granted(), answer(Outcome::Granted(9), 5000, 5001)];
    assert!(requests::one_grant_each(&late, &[]).is_some());
}

#[test]
fn a_client_that_asks_again_is_told_its_grant_soon() {
    let granted = || Outcome::Granted(4);
    let soon = [answer(granted(), 1, 2), answer(granted(), 60, 70)];
    assert_eq!(requests::same_grant(&soon, 100), None);
    // Nobody has asked again.
    assert_eq!(requests::same_grant(&soon[..1], 100), None);
    let late = [
        answer(granted(), 1, 2),
        answer(Outcome::Unavailable, 60, 70),
        answer(granted(), 200, 210),
    ];
    assert_eq!(requests::same_grant(&late, 100).expect("150 is more than 100").took_us, 150);
    let never = [answer(granted(), 1, 2), answer(Outcome::Unavailable, 60, 400)];
    assert_eq!(requests::same_grant(&never, 100).expect("it never was").took_us, 340);
}
