//! Faults on the wire: what a sender and a receiver see of each, and what the record says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use harness::fabric::{
    Fabric, Link, RunClock,
    decode::Decoder,
    fault::{Aim, Entry, Fault, Mode, Phase, RECEIVER, SENDER, Trigger},
    record::{Lost, Message, Recorder, Writer, read_lines},
};
use node::Channel;
use proto::lock::{
    self as wire,
    lock_client::LockClient,
    lock_server::{Lock, LockServer},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::sleep};
use tonic::{Code, Request, Response, Status, transport::Server};

/// A node that grants whatever it is asked, counts what reaches it, and takes its time.
#[derive(Clone, Default)]
struct Granter {
    reached: Arc<AtomicU64>,
    finished: Arc<AtomicU64>,
    takes_ms: u64,
}

#[tonic::async_trait]
impl Lock for Granter {
    async fn acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<wire::AcquireReply>, Status> {
        let token = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(Duration::from_millis(self.takes_ms)).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        if request.into_inner().owner == "nobody" {
            return Err(Status::invalid_argument("nobody has no name"));
        }
        let outcome = wire::acquire_reply::Outcome::Granted(wire::Granted { token });
        Ok(Response::new(wire::AcquireReply { outcome: Some(outcome) }))
    }
    async fn renew(
        &self,
        _: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn release(
        &self,
        _: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Any Acquire at this moment of its life.
fn aim(phase: Phase) -> Aim {
    Aim {
        method: "Acquire".into(),
        from: None,
        to: None,
        phase,
        request: None,
        reply: None,
        same: None,
    }
}

fn entry(aim: Aim, nth: u32, after: Option<usize>, fault: Fault) -> Entry {
    Entry { when: Trigger::Message { aim, nth, after }, fault, for_ms: 0 }
}

/// A granter behind a link between two nodes, and the record of what the link carried.
struct Wire {
    fabric: Fabric,
    granter: Granter,
    client: LockClient<Channel>,
    folder: TempDir,
    writer: Writer,
}

impl Wire {
    async fn new(takes_ms: u64) -> Self {
        let granter = Granter { takes_ms, ..Granter::default() };
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap().to_string();
        let incoming = tonic::transport::server::TcpIncoming::from(upstream);
        let server = Server::builder().add_service(LockServer::new(granter.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));

        let folder = TempDir::new().unwrap();
        let (recorder, writer) = Recorder::start(&folder.path().join("messages.jsonl")).unwrap();
        let decoder = Decoder::new(wire::DESCRIPTORS).unwrap();
        let (fabric, _strikes) = Fabric::new(RunClock::default(), decoder, recorder);
        fabric.clock().start();
        let link = Link::between_nodes(fabric.clone(), "n1", "n2", &address);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let channel = Channel::connect(&listener.local_addr().unwrap().to_string()).unwrap();
        tokio::spawn(link.serve(listener));
        Self { fabric, granter, client: LockClient::new(channel), folder, writer }
    }

    fn arm(&self, fault: Fault, phase: Phase, reply: Option<&str>, nth: u32) {
        let aim = Aim { reply: reply.map(str::to_owned), ..aim(phase) };
        self.fabric.arm(&[entry(aim, nth, None, fault)]);
    }

    fn cut(&self, from: &str, to: &str, mode: Mode) {
        self.fabric.cut(7, vec![(from.into(), to.into())], mode);
    }

    /// One Acquire with a deadline: its token, or how it failed.
    async fn acquire(&mut self, owner: &str) -> Result<u64, Code> {
        let request = wire::AcquireRequest {
            name: "lock".into(),
            owner: owner.into(),
            request_no: 1,
            lease_ms: 1000,
        };
        let call = self.client.acquire(request);
        let reply = tokio::time::timeout(Duration::from_millis(300), call).await;
        let reply = reply.map_err(|_| Code::DeadlineExceeded)?.map_err(|status| status.code())?;
        match reply.into_inner().outcome {
            Some(wire::acquire_reply::Outcome::Granted(granted)) => Ok(granted.token),
            other => panic!("{other:?}"),
        }
    }

    fn reached(&self) -> u64 {
        self.granter.reached.load(Ordering::SeqCst)
    }
}

/// Runs `scenario` on a wire and returns the record of it.
fn carried<F: Future<Output = Wire>>(scenario: impl FnOnce() -> F) -> Vec<Message> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Wire { fabric, client, folder, writer, .. } = runtime.block_on(scenario());
    drop((fabric, client));
    drop(runtime);
    writer.finish().unwrap();
    let mut messages: Vec<Message> = read_lines(&folder.path().join("messages.jsonl")).unwrap();
    messages.sort_by_key(|message| (message.id, message.copy));
    messages
}

#[test]
fn without_faults_replies_and_errors_come_through() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("nobody").await, Err(Code::InvalidArgument));
        wire
    });
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

#[test]
fn a_dropped_request_never_arrives() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        wire.arm(Fault::DropRequest, Phase::Request, None, 2);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        assert_eq!(wire.acquire("c1").await, Ok(2));
        assert_eq!(wire.fabric.take_struck().len(), 1);
        wire
    });
    assert_eq!(messages[1].lost, Some(Lost::RequestDropped));
    assert_eq!(messages[1].delivered_us, None);
    assert!(messages[1].gave_up_us.is_some());
}

#[test]
fn a_dropped_reply_was_delivered() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        wire.arm(Fault::DropReply, Phase::Reply, Some("granted"), 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::ReplyDropped));
    assert!(messages[0].replied_us.is_some() && messages[0].answered_us.is_none());
}

#[test]
fn an_aim_at_a_field_passes_over_other_replies() {
    carried(|| async {
        let mut wire = Wire::new(0).await;
        wire.arm(Fault::DropReply, Phase::Reply, Some("held"), 1);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        wire
    });
}

#[test]
fn a_duplicate_arrives_twice_and_is_answered_once() {
    for phase in [Phase::Request, Phase::Reply] {
        let messages = carried(|| async move {
            let mut wire = Wire::new(0).await;
            wire.arm(Fault::Duplicate { after_ms: 20, until: None }, phase, None, 1);
            assert_eq!(wire.acquire("c1").await, Ok(1));
            sleep(Duration::from_millis(100)).await;
            assert_eq!(wire.reached(), 2);
            wire
        });
        let [original, copy] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((original.copy, copy.copy), (0, 1));
        assert_eq!(original.id, copy.id);
        assert!(copy.delivered_us >= original.delivered_us.map(|at_us| at_us + 20_000));
        assert_eq!(copy.request.bytes(), original.request.bytes());
        assert_ne!(copy.reply.as_ref().unwrap().bytes(), original.reply.as_ref().unwrap().bytes());
    }
}

#[test]
fn two_duplicates_of_one_message_are_two() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        let twice = |after_ms| Fault::Duplicate { after_ms, until: None };
        let on_reply = |after_ms| entry(aim(Phase::Reply), 1, None, twice(after_ms));
        wire.fabric.arm(&[on_reply(10), on_reply(20)]);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(wire.reached(), 3);
        wire
    });
    let copies: Vec<_> = messages.iter().map(|message| message.copy).collect();
    assert_eq!(copies, [0, 1, 2]);
}

#[test]
fn a_delay_takes_its_time_before_delivery_or_after() {
    for phase in [Phase::Request, Phase::Reply] {
        let messages = carried(|| async move {
            let mut wire = Wire::new(0).await;
            wire.arm(Fault::Delay { ms: 100 }, phase, None, 1);
            let started = Instant::now();
            assert_eq!(wire.acquire("c1").await, Ok(1));
            assert!(started.elapsed() >= Duration::from_millis(100));
            wire
        });
        let late = messages[0].delivered_us >= Some(messages[0].sent_us + 100_000);
        assert_eq!(late, phase == Phase::Request);
    }
}

#[test]
fn a_silent_cut_loses_messages_until_it_heals() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        wire.cut("n1", "n2", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 0);
        wire.fabric.heal(7);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        // A cut between others is none for them.
        wire.cut("n1", "n3", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Ok(2));
        wire
    });
    let lost: Vec<_> = messages.iter().map(|message| message.lost).collect();
    assert_eq!(lost, [Some(Lost::Cut), None, None]);
}

#[test]
fn a_cut_one_way_blocks_requests_there_and_replies_to_calls_from_there() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        // The request from n1 arrives, the reply that n2 sends does not.
        wire.cut("n2", "n1", Mode::Silent);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::Cut));
    assert!(messages[0].replied_us.is_some());
}

#[test]
fn a_cut_also_blocks_replies_to_calls_made_before_it() {
    let messages = carried(|| async {
        let mut wire = Wire::new(100).await;
        let fabric = wire.fabric.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            fabric.cut(7, vec![("n2".into(), "n1".into())], Mode::Silent);
        });
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::Cut));
    assert!(messages[0].replied_us.is_some());
}

#[test]
fn a_holding_cut_delivers_everything_after_the_heal() {
    for (from, to, reached_before) in [("n1", "n2", 0), ("n2", "n1", 1)] {
        let messages = carried(|| async move {
            let mut wire = Wire::new(0).await;
            wire.cut(from, to, Mode::Hold);
            assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
            assert_eq!(wire.reached(), reached_before);
            wire.fabric.heal(7);
            sleep(Duration::from_millis(50)).await;
            assert_eq!(wire.reached(), 1);
            wire
        });
        assert!(messages[0].held && messages[0].lost.is_none(), "{messages:?}");
    }
}

#[test]
fn a_resetting_cut_closes_connections_and_refuses_new_ones() {
    carried(|| async {
        let mut wire = Wire::new(200).await;
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

#[test]
fn a_refused_message_never_arrives_and_its_sender_is_told() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        wire.arm(Fault::Refuse, Phase::Request, None, 1);
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        assert_eq!(wire.reached(), 0);
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::Refused));
}

#[test]
fn a_held_message_arrives_when_its_time_is_over_or_the_storm_is() {
    carried(|| async {
        let mut wire = Wire::new(0).await;
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
        assert!(struck[1].until_us >= struck[1].at_us + 300_000, "{struck:?}");
        wire
    });
}

#[test]
fn a_held_message_or_a_copy_goes_on_after_the_message_that_it_waits_for() {
    let until = |phase| {
        let same = Some("name".to_owned());
        Some(Aim { from: Some(SENDER.into()), same, ..aim(phase) })
    };
    carried(|| async move {
        let mut wire = Wire::new(0).await;
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
    carried(|| async {
        let mut wire = Wire::new(0).await;
        let to = |name: &str| Aim { to: Some(name.into()), ..aim(Phase::Request) };
        let late = Fault::Delay { ms: 1 };
        wire.fabric.arm(&[
            entry(aim(Phase::Request), 2, None, late.clone()),
            entry(to(RECEIVER), 1, Some(0), Fault::Refuse),
            // The receiver is n2, so nothing is ever sent to its sender.
            entry(to(SENDER), 1, Some(0), Fault::Refuse),
        ]);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        assert_eq!(wire.acquire("c1").await, Ok(2));
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        assert_eq!(wire.acquire("c1").await, Ok(3));
        let struck: Vec<_> = wire.fabric.take_struck().iter().map(|it| it.entry).collect();
        assert_eq!(struck, [0, 1]);
        wire
    });
}

#[test]
fn a_sender_that_gives_up_does_not_call_its_message_back() {
    let messages = carried(|| async {
        let mut wire = Wire::new(500).await;
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        sleep(Duration::from_millis(400)).await;
        assert_eq!(wire.granter.finished.load(Ordering::SeqCst), 1);
        wire
    });
    assert!(messages[0].gave_up_us < messages[0].replied_us);
}

#[test]
fn a_node_that_does_not_listen_is_unavailable_at_once() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        let gone = Link::between_nodes(wire.fabric.clone(), "n1", "n3", "127.0.0.1:1");
        wire.client = LockClient::new(gone.channel());
        assert_eq!(wire.acquire("c1").await, Err(Code::Unavailable));
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::Unreachable));
}
