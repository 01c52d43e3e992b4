//! Checkers on histories made by hand: the good ones pass, the bad ones are told in plain words.

use harness::fabric::{
    fault::{Fault, Struck},
    weather::Weather,
};
use harness::labs::lock::{
    fencing::{self, Read, Told, Write},
    leases::{self, Ask, Freed, Grant, LostRenewal, MayHold, Reliance},
    majority,
    requests::{self, Answer, ClaimEnded, EndedBy, Outcome},
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Three nodes of which these were killed from one moment to the other.
fn without(nodes: &[&str], at_us: u64, until_us: u64) -> Weather {
    let fault = Fault::Kill { nodes: names(nodes) };
    let struck = [Struck { entry: 0, fault, at_us, until_us, message: None }];
    Weather::new(&struck, &names(&["n1", "n2", "n3"]))
}

fn reliance(owner: &str, token: u64, from_us: u64, until_us: u64) -> Reliance {
    let (lock, owner) = ("lock-1".to_owned(), owner.to_owned());
    Reliance { lock, token, owner, told_us: from_us, from_us, until_us, released_by: None }
}

fn grant(owner: &str, request_no: u64, token: u64, asked_us: u64, told_us: u64) -> Grant {
    let (lock, owner, node) = ("lock-1".to_owned(), owner.to_owned(), "n1".to_owned());
    let process = owner[1..].parse().ok();
    Grant { lock, token, owner, request_no, node, process, asked_us, told_us }
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
    let freed = [Freed { lock: lock.clone(), token: 4, at_us: 100, how: "was released" }];
    let asked = |at_us| Ask { lock: lock.clone(), owner: "c2".into(), at_us };
    let calm = Weather::default();
    let late = |asks: &[Ask], grants: &[Grant]| {
        leases::granted_again(&freed, &[], asks, grants, 500, &calm, 2000)
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
        duplicate: false,
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
    let calm = Weather::default();
    let soon = [answer(granted(), 1, 2), answer(granted(), 60, 70)];
    assert_eq!(requests::same_grant(&soon, 100, &calm), None);
    // Nobody has asked again.
    assert_eq!(requests::same_grant(&soon[..1], 100, &calm), None);
    let late = [
        answer(granted(), 1, 2),
        answer(Outcome::Unavailable, 60, 70),
        answer(granted(), 200, 210),
    ];
    assert_eq!(requests::same_grant(&late, 100, &calm).expect("150 is more than 100").took_us, 150);
    let never = [answer(granted(), 1, 2), answer(Outcome::Unavailable, 60, 400)];
    assert_eq!(requests::same_grant(&never, 100, &calm).expect("it never was").took_us, 340);
    // The network asks, and nobody waits for the answer.
    let [grant, refused] = never.clone();
    let twice = [grant, Answer { duplicate: true, ..refused }];
    assert_eq!(requests::same_grant(&twice, 100, &calm), None);
    // Nothing is promised while two of three are down.
    assert_eq!(requests::same_grant(&never, 100, &without(&["n1", "n2"], 20, 200)), None);
}

#[test]
fn a_free_lock_must_be_granted_only_while_it_is_calm() {
    let lock = "lock-1".to_owned();
    let freed = [Freed { lock: lock.clone(), token: 4, at_us: 100, how: "was released" }];
    let asks: Vec<_> =
        (2..20).map(|n| Ask { lock: lock.clone(), owner: "c2".into(), at_us: n * 100 }).collect();
    let late =
        |weather: &Weather| leases::granted_again(&freed, &[], &asks, &[], 500, weather, 3000);
    assert_eq!(late(&without(&["n1"], 150, 900)).expect("two are enough").took_us, 2800);
    // Counted from the first ask after the calm came back.
    assert_eq!(late(&without(&["n1", "n2"], 150, 950)).expect("it came back").took_us, 2000);
    assert_eq!(late(&without(&["n1", "n2"], 150, 2950)), None);
}

#[test]
fn a_lock_that_somebody_may_hold_unknowingly_need_not_be_granted() {
    let lock = "lock-1".to_owned();
    let freed = [Freed { lock: lock.clone(), token: 4, at_us: 100, how: "was released" }];
    let ask = |at_us| Ask { lock: lock.clone(), owner: "c2".into(), at_us };
    let asks = [ask(200), ask(1500), ask(2600)];
    let holds = |token| [MayHold { lock: lock.clone(), token, from_us: 150, until_us: 1400 }];
    let calm = Weather::default();
    let late = |may_hold: &[MayHold]| {
        leases::granted_again(&freed, may_hold, &asks, &[], 500, &calm, 3000)
    };
    assert_eq!(late(&[]).expect("nobody holds it").took_us, 2800);
    assert_eq!(late(&holds(5)).expect("only until 1400").took_us, 1500);
    // What came before the release is no excuse.
    assert_eq!(late(&holds(4)).expect("an older token").took_us, 2800);
}

#[test]
fn a_renewal_in_time_is_never_lost() {
    let loss = |told_us| LostRenewal {
        lock: "lock-1".into(),
        token: 4,
        owner: "c1".into(),
        process: 1,
        place: 0,
        node: "n2".into(),
        told_us,
    };
    let relied = [reliance("c1", 4, 100, 600)];
    assert_eq!(leases::renewals_kept(&relied, &[loss(700)]), None);
    assert_eq!(leases::renewals_kept(&[reliance("c1", 5, 100, 900)], &[loss(500)]), None);
    let finding = leases::renewals_kept(&relied, &[loss(500)]).expect("the lease ran until 600");
    assert!(finding.sentence.contains("n2 answered LOST"), "{}", finding.sentence);
}

#[test]
fn a_node_that_is_alone_grants_nothing_new() {
    let alone = without(&["n1", "n3"], 50, 150);
    let granted = || answer(Outcome::Granted(4), 60, 70);
    let finding = majority::granted_alone(&[granted()], &alone).expect("n2 was alone");
    assert!(finding.sentence.contains("n2 granted lock-1 to c1"), "{}", finding.sentence);
    // Told before: no new token. Asked or answered with the others: no sin.
    let told = [answer(Outcome::Granted(4), 1, 2), granted()];
    assert_eq!(majority::granted_alone(&told, &alone), None);
    for (delivered_us, told_us) in [(40, 70), (60, 160)] {
        let answers = [answer(Outcome::Granted(4), delivered_us, told_us)];
        assert_eq!(majority::granted_alone(&answers, &alone), None);
    }
    assert_eq!(majority::granted_alone(&[answer(Outcome::Unavailable, 60, 70)], &alone), None);
}

fn write(version: (u64, u64), call_us: u64, returned: Option<(u64, Told)>) -> Write {
    let (lock, owner) = ("lock-1".to_owned(), format!("c{}", version.0));
    let value = format!("{version:?}");
    let (process, place) = (version.0 as u32, call_us as usize);
    Write { lock, owner, process, place, version, value, call_us, returned }
}

fn read(version: (u64, u64), call_us: u64, return_us: u64) -> Read {
    Read {
        lock: "lock-1".into(),
        reader: "c9".into(),
        process: 9,
        place: call_us as usize,
        version,
        value: if version == (0, 0) { String::new() } else { format!("{version:?}") },
        node: "n1".into(),
        call_us,
        return_us,
    }
}

#[test]
fn writes_and_reads_in_order_are_right() {
    let writes = [
        write((1, 1), 10, Some((20, Told::Ok))),
        write((1, 2), 25, None),
        write((2, 1), 30, Some((40, Told::Ok))),
        // Sent before the newer one was done: either order is right.
        write((1, 3), 35, Some((60, Told::Ok))),
        write((1, 4), 50, Some((60, Told::Fenced))),
    ];
    let reads =
        [read((0, 0), 1, 12), read((1, 1), 21, 29), read((1, 2), 28, 38), read((2, 1), 45, 50)];
    assert_eq!(fencing::fenced(&writes, &reads), None);
}

#[test]
fn what_an_older_token_does_later_is_wrong() {
    let newer = || write((2, 1), 30, Some((40, Told::Ok)));
    let told = |writes: &[Write], reads: &[Read], part: &str| {
        let finding = fencing::fenced(writes, reads).expect(part);
        assert!(finding.sentence.contains(part), "{}", finding.sentence);
    };
    let late = write((1, 2), 50, Some((60, Told::Ok)));
    told(&[newer(), late.clone()], &[], "should have been FENCED");
    // Its client never knew, but somebody read it, even one who asked before.
    let unknown = Write { returned: None, ..late };
    told(&[newer(), unknown], &[read((1, 2), 35, 70)], "was read by c9");
    let older = || write((1, 1), 10, Some((20, Told::Ok)));
    told(&[older(), newer()], &[read((1, 1), 50, 60)], "something newer");
    let unread = write((1, 2), 21, None);
    told(&[older(), unread], &[read((1, 2), 30, 40), read((1, 1), 50, 60)], "something newer");
    told(&[older()], &[read((1, 7), 30, 40)], "nobody has written");
    told(&[older(), newer()], &[read((2, 1), 12, 25)], "only sent at");
    told(&[write((1, 1), 10, Some((20, Told::Fenced)))], &[], "nobody had sent a newer one");
}

#[test]
fn a_token_that_two_have_may_write_twice_under_one_number() {
    // That the token was granted twice is another check's to tell.
    let one = write((3, 1), 10, Some((20, Told::Ok)));
    let other = Write { owner: "c4".into(), value: "c4's".into(), call_us: 30, ..one.clone() };
    assert_eq!(fencing::fenced(&[one.clone(), other.clone()], &[read((3, 1), 21, 29)]), None);
    // What was read is the one's, even if the other's comes too late.
    let newer = write((4, 1), 30, Some((35, Told::Ok)));
    let unknown = Write { call_us: 40, returned: None, ..other };
    assert_eq!(fencing::fenced(&[one, newer, unknown], &[read((3, 1), 21, 29)]), None);
}

#[test]
fn a_write_in_calm_is_answered_soon() {
    let late = |write: Write, weather: &Weather| {
        fencing::answered(&[write], 100, weather, 1000).map(|late| late.took_us)
    };
    let calm = Weather::default();
    assert_eq!(late(write((1, 1), 10, Some((110, Told::Ok))), &calm), None);
    assert_eq!(late(write((1, 1), 10, Some((120, Told::Fenced))), &calm), Some(110));
    assert_eq!(late(write((1, 1), 10, None), &calm), Some(990));
    assert_eq!(late(write((1, 1), 10, None), &without(&["n1", "n2"], 50, 60)), None);
}

#[test]
fn a_node_that_reaches_a_majority_decides() {
    let ask = |node: &str, call_us, decided| majority::Ask {
        node: node.to_owned(),
        client: "c1".into(),
        call_us,
        return_us: call_us + 50,
        decided,
    };
    let late = |asks: &[majority::Ask], weather: &Weather| {
        majority::every_node_decides(asks, 500, weather).map(|late| late.took_us)
    };
    let calm = Weather::default();
    let never: Vec<_> = (0..10).map(|n| ask("n1", n * 100, false)).collect();
    assert_eq!(late(&never, &calm), Some(950));
    // Nobody asked meanwhile, or it decided in between.
    assert_eq!(late(&[ask("n1", 0, false), ask("n1", 900, true)], &calm), None);
    let mut once = never.clone();
    once[5].decided = true;
    assert_eq!(late(&once, &calm), None);
    // Not while it is down, nor while it is alone, even if the others are well.
    assert_eq!(late(&never, &without(&["n1"], 0, 900)), None);
    assert_eq!(late(&never, &without(&["n2", "n3"], 0, 900)), None);
    assert_eq!(late(&never, &without(&["n2"], 0, 900)), Some(950));
}
