//! Faults on messages, on both engines: what a sender and a receiver see, and what the record says.
//! Readings of a run's clock may be a little ahead in simulation, so durations get a millisecond.

use std::sync::atomic::Ordering;

use harness::fabric::{
    Connection, Link,
    fault::{Aim, Fault, Phase, RECEIVER, SENDER},
    record::Lost,
};
use proto::lock::lock_client::LockClient;
use tests::wire::{Wire, aim, carried, entry};
use tokio::time::{Duration, Instant, sleep};
use tonic::Code;

#[test]
fn without_faults_replies_and_errors_come_through() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("nobody").await, Err(Code::InvalidArgument));
        wire
    }) {
        assert_eq!(messages.len(), 2);
        let codes: Vec<_> = messages.iter().map(|message| message.code).collect();
        assert_eq!(codes, [Some(0), Some(3)]);
        for message in messages {
            assert_eq!((message.from.as_str(), message.to.as_str()), ("n1", "n2"));
            assert_eq!((message.method(), message.lost), ("Acquire", None));
            assert!(message.delivered_us >= Some(message.sent_us));
            assert!(message.answered_us >= message.replied_us);
        }
    }
}

#[test]
fn a_dropped_request_never_arrives() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.arm(Fault::DropRequest, Phase::Request, None, 2);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        assert_eq!(wire.acquire("c1").await, Ok(2));
        assert_eq!(wire.fabric.take_struck().len(), 1);
        wire
    }) {
        assert_eq!(messages[1].lost, Some(Lost::RequestDropped));
        assert_eq!(messages[1].delivered_us, None);
        assert!(messages[1].gave_up_us.is_some());
    }
}

#[test]
fn a_dropped_reply_was_delivered() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.arm(Fault::DropReply, Phase::Reply, Some("granted"), 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    }) {
        assert_eq!(messages[0].lost, Some(Lost::ReplyDropped));
        assert!(messages[0].replied_us.is_some() && messages[0].answered_us.is_none());
    }
}

#[test]
fn an_aim_at_a_field_passes_over_other_replies() {
    carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.arm(Fault::DropReply, Phase::Reply, Some("held"), 1);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        wire
    });
}

#[test]
fn a_duplicate_arrives_twice_and_is_answered_once() {
    for phase in [Phase::Request, Phase::Reply] {
        for messages in carried(async |engine| {
            let mut wire = Wire::new(engine, 0).await;
            wire.arm(Fault::Duplicate { after_ms: 20, until: None }, phase, None, 1);
            assert_eq!(wire.acquire("c1").await, Ok(1));
            sleep(Duration::from_millis(100)).await;
            assert_eq!(wire.reached(), 2);
            wire
        }) {
            let [original, copy] = &messages[..] else { panic!("{messages:?}") };
            assert_eq!((original.copy, copy.copy), (0, 1));
            assert_eq!(original.id, copy.id);
            assert!(copy.delivered_us >= original.delivered_us.map(|at_us| at_us + 19_000));
            assert_eq!(copy.request.bytes(), original.request.bytes());
            assert_ne!(
                copy.reply.as_ref().unwrap().bytes(),
                original.reply.as_ref().unwrap().bytes()
            );
        }
    }
}

#[test]
fn two_duplicates_of_one_message_are_two() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        let twice = |after_ms| Fault::Duplicate { after_ms, until: None };
        let on_reply = |after_ms| entry(aim(Phase::Reply), 1, None, twice(after_ms));
        wire.fabric.arm(&[on_reply(10), on_reply(20)]);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(wire.reached(), 3);
        wire
    }) {
        let copies: Vec<_> = messages.iter().map(|message| message.copy).collect();
        assert_eq!(copies, [0, 1, 2]);
    }
}

#[test]
fn a_delay_takes_its_time_before_delivery_or_after() {
    for phase in [Phase::Request, Phase::Reply] {
        for messages in carried(async |engine| {
            let mut wire = Wire::new(engine, 0).await;
            wire.arm(Fault::Delay { ms: 100 }, phase, None, 1);
            let started = Instant::now();
            assert_eq!(wire.acquire("c1").await, Ok(1));
            assert!(started.elapsed() >= Duration::from_millis(100));
            wire
        }) {
            let late = messages[0].delivered_us >= Some(messages[0].sent_us + 99_000);
            assert_eq!(late, phase == Phase::Request);
        }
    }
}

#[test]
fn a_refused_message_never_arrives_and_its_sender_is_told() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.arm(Fault::Refuse, Phase::Request, None, 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        assert_eq!(wire.reached(), 0);
        wire
    }) {
        assert_eq!(messages[0].lost, Some(Lost::Refused));
    }
}

#[test]
fn a_held_message_arrives_when_its_time_is_over_or_the_storm_is() {
    carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.arm(Fault::Hold { at_most_ms: 100, until: None }, Phase::Request, None, 1);
        let started = Instant::now();
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert!(started.elapsed() >= Duration::from_millis(100));
        wire.arm(Fault::Hold { at_most_ms: 60_000, until: None }, Phase::Request, None, 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire.fabric.disarm();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(wire.reached(), 2);
        let struck = wire.fabric.take_struck();
        assert!(struck[1].until_us >= struck[1].at_us + 299_000, "{struck:?}");
        wire
    });
}

#[test]
fn a_message_that_is_held_twice_goes_on_when_both_are_over() {
    carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        let hold =
            |ms| entry(aim(Phase::Request), 1, None, Fault::Hold { at_most_ms: ms, until: None });
        // What follows a message that is held is over when it has gone on.
        let drop = |after| entry(aim(Phase::Request), 2, Some(after), Fault::DropRequest);
        wire.fabric.arm(&[hold(50), hold(100), drop(0), drop(1)]);
        let started = Instant::now();
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert!(started.elapsed() >= Duration::from_millis(100));
        assert_eq!(wire.acquire("c1").await, Ok(2));
        assert_eq!(wire.acquire("c1").await, Ok(3));
        let struck = wire.fabric.take_struck();
        let lasted = |at: usize| struck[at].until_us - struck[at].at_us;
        assert!(struck.len() == 2 && lasted(0) >= 49_000 && lasted(1) >= 99_000, "{struck:?}");
        wire
    });
}

#[test]
fn a_held_message_or_a_copy_goes_on_after_the_message_that_it_waits_for() {
    let until = |phase| {
        let same = Some("name".to_owned());
        Some(Aim { from: Some(SENDER.into()), same, ..aim(phase) })
    };
    carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        let hold = Fault::Hold { at_most_ms: 60_000, until: until(Phase::Request) };
        wire.arm(hold, Phase::Request, None, 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 0);
        // The next one of the same sender under the same name lets it go.
        wire.acquire("c1").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(wire.reached(), 2);
        let copy = Fault::Duplicate { after_ms: 0, until: until(Phase::Reply) };
        wire.arm(copy, Phase::Reply, None, 1);
        assert_eq!(wire.acquire("c1").await, Ok(3));
        sleep(Duration::from_millis(50)).await;
        assert_eq!(wire.reached(), 3);
        assert_eq!(wire.acquire("c1").await, Ok(4));
        sleep(Duration::from_millis(50)).await;
        assert_eq!(wire.reached(), 5);
        wire
    });
}

#[test]
fn a_fault_after_another_counts_only_what_comes_then_and_knows_its_roles() {
    carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        let to = |name: &str| Aim { to: Some(name.into()), ..aim(Phase::Request) };
        let late = Fault::Delay { ms: 1 };
        wire.fabric.arm(&[
            entry(aim(Phase::Request), 2, None, late.clone()),
            entry(to(RECEIVER), 1, Some(0), Fault::Refuse),
            // The receiver is n2, so nothing is ever sent to its sender, or to anybody else.
            entry(to(SENDER), 1, Some(0), Fault::Refuse),
            entry(to("!receiver"), 1, Some(0), Fault::Refuse),
            entry(to("!sender"), 3, Some(0), Fault::Refuse),
        ]);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("c1").await, Ok(2));
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        assert_eq!(wire.acquire("c1").await, Ok(3));
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        let struck: Vec<_> = wire.fabric.take_struck().iter().map(|it| it.entry).collect();
        assert_eq!(struck, [0, 1, 4]);
        wire
    });
}

#[test]
fn a_sender_that_gives_up_does_not_call_its_message_back() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 500).await;
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        sleep(Duration::from_millis(400)).await;
        assert_eq!(wire.granter.finished.load(Ordering::SeqCst), 1);
        wire
    }) {
        assert!(messages[0].gave_up_us < messages[0].replied_us);
    }
}

#[test]
fn a_node_that_does_not_listen_is_unavailable_at_once() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        let gone =
            Link::between_nodes(wire.fabric.clone(), "n1", "n3", Connection::to("127.0.0.1:1"));
        wire.client = LockClient::new(gone.channel());
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        wire
    }) {
        assert_eq!(messages[0].lost, Some(Lost::Unreachable));
    }
}
