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
    fault::{Aim, Entry, Fault, Phase, Trigger},
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
        let reply = reply.map(str::to_owned);
        let aim = Aim { method: "Acquire".into(), from: None, to: None, phase, reply };
        self.fabric.arm(&[Entry { when: Trigger::Message { aim, nth }, fault, for_ms: 0 }]);
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
            wire.arm(Fault::Duplicate { after_ms: 20 }, phase, None, 1);
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
fn a_cut_loses_messages_until_it_heals() {
    let messages = carried(|| async {
        let mut wire = Wire::new(0).await;
        let side = ["n2".to_owned()];
        wire.fabric.cut(&side);
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 0);
        wire.fabric.heal(&side);
        assert_eq!(wire.acquire("c1").await, Ok(1));
        // A cut that has both on one side is none for them.
        wire.fabric.cut(&["n1".to_owned(), "n2".to_owned()]);
        assert_eq!(wire.acquire("c1").await, Ok(2));
        wire
    });
    let lost: Vec<_> = messages.iter().map(|message| message.lost).collect();
    assert_eq!(lost, [Some(Lost::Cut), None, None]);
}

#[test]
fn a_cut_also_blocks_replies_to_calls_made_before_it() {
    let messages = carried(|| async {
        let mut wire = Wire::new(100).await;
        let fabric = wire.fabric.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            fabric.cut(&["n1".to_owned()]);
        });
        assert_eq!(wire.acquire("c1").await, Err(Code::DeadlineExceeded));
        assert_eq!(wire.reached(), 1);
        wire
    });
    assert_eq!(messages[0].lost, Some(Lost::Cut));
    assert!(messages[0].replied_us.is_some());
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
