//! Cuts, on both engines: what a sender and a receiver see of them, and what the record says.

use std::sync::Mutex;

use harness::fabric::{
    fault::{Fault, Mode, Phase},
    record::Lost,
};
use tests::wire::{Wire, carried, request};
use tokio::time::{Duration, Instant, sleep};
use tonic::{Code, Request};

#[test]
fn a_silent_cut_loses_messages_until_it_heals() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        wire.cut("n1", "n2", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 0);
        wire.fabric.heal(7);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        // A cut between others is none for them.
        wire.cut("n1", "n3", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Ok(2));
        wire
    }) {
        let lost: Vec<_> = messages.iter().map(|message| message.lost).collect();
        assert_eq!(lost, [Some(Lost::Cut), None, None]);
    }
}

#[test]
fn a_cut_one_way_blocks_requests_there_and_replies_to_calls_from_there() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 0).await;
        // The request from n1 arrives, the reply that n2 sends does not.
        wire.cut("n2", "n1", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    }) {
        assert_eq!(messages[0].lost, Some(Lost::Cut));
        assert!(messages[0].replied_us.is_some());
    }
}

#[test]
fn a_cut_also_blocks_replies_to_calls_made_before_it() {
    for messages in carried(async |engine| {
        let mut wire = Wire::new(engine, 100).await;
        let fabric = wire.fabric.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            fabric.cut(7, vec![("n2".into(), "n1".into())], Mode::Silent);
        });
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    }) {
        assert_eq!(messages[0].lost, Some(Lost::Cut));
        assert!(messages[0].replied_us.is_some());
    }
}

#[test]
fn a_holding_cut_delivers_everything_after_the_heal() {
    for (from, to, reached_before) in [("n1", "n2", 0), ("n2", "n1", 1)] {
        for messages in carried(async |engine| {
            let mut wire = Wire::new(engine, 0).await;
            wire.cut(from, to, Mode::Hold);
            assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
            assert_eq!(wire.reached(), reached_before);
            wire.fabric.heal(7);
            sleep(Duration::from_millis(50)).await;
            assert_eq!(wire.reached(), 1);
            wire
        }) {
            assert!(messages[0].held && messages[0].lost.is_none(), "{messages:?}");
        }
    }
}

#[test]
fn a_resetting_cut_closes_connections_and_refuses_new_ones() {
    carried(async |engine| {
        let mut wire = Wire::new(engine, 200).await;
        assert_eq!(wire.acquire("c1").await, Ok(1));
        let fabric = wire.fabric.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            fabric.cut(7, vec![("n1".into(), "n2".into())], Mode::Reset);
        });
        // Under way when it comes, and made while it lasts: told at once, not at the deadline.
        for _ in 0..2 {
            let started = Instant::now();
            let failed = wire.acquire("c1").await.unwrap_err();
            assert!(matches!(failed, Code::Unavailable | Code::Unknown), "{failed:?}");
            assert!(started.elapsed() < Duration::from_millis(200));
        }
        wire.fabric.heal(7);
        assert_eq!(wire.acquire("c1").await, Ok(3));
        wire
    });
}

/// What tonic makes of each end of a call, the simulation makes of it, too.
#[test]
fn calls_end_with_the_same_code_on_both_engines() {
    let codes: Mutex<Vec<Vec<Code>>> = Mutex::default();
    carried(async |engine| {
        let mut wire = Wire::new(engine, 200).await;
        let mut seen = Vec::new();
        let mut timely = Request::new(request("c1"));
        timely.set_timeout(Duration::from_millis(50));
        seen.push(wire.client.acquire(timely).await.unwrap_err().code());
        let fabric = wire.fabric.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            fabric.cut(7, vec![("n1".into(), "n2".into())], Mode::Reset);
        });
        // Under way when the connection is reset, and while new ones are refused.
        seen.push(wire.acquire("c1").await.unwrap_err());
        seen.push(wire.acquire("c1").await.unwrap_err());
        wire.fabric.heal(7);
        wire.arm(Fault::Refuse, Phase::Request, None, 1);
        seen.push(wire.acquire("c1").await.unwrap_err());
        codes.lock().unwrap().push(seen);
        wire
    });
    let codes = codes.into_inner().unwrap();
    assert_eq!(codes[0], codes[1]);
}
