//! A granter behind a link, on the process engine and in simulation: what a fault does to a message
//! is the same on both.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use harness::{
    cluster::simulated::{
        host::NodeHost,
        network::{self, Inbox, Latency},
    },
    fabric::{
        Connection, Fabric, Link, RunClock,
        decode::Decoder,
        fault::{Aim, Entry, Fault, Mode, Phase, Trigger},
        record::{Message, Recorder},
    },
};
use node::{Channel, Services};
use proto::lock::{
    self as wire,
    lock_client::LockClient,
    lock_server::{Lock, LockServer},
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    net::TcpListener,
    time::{Duration, sleep, timeout},
};
use tonic::{Code, Request, Response, Status, transport::Server};

/// A node that grants whatever it is asked, counts what reaches it, and takes its time.
#[derive(Clone, Default)]
pub struct Granter {
    /// How many calls have reached it.
    pub reached: Arc<AtomicU64>,
    /// How many it has answered.
    pub finished: Arc<AtomicU64>,
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
pub fn aim(phase: Phase) -> Aim {
    Aim { phase, ..Aim::at("Acquire".into()) }
}

/// The `nth` message that fits `aim` sets off `fault`.
pub fn entry(aim: Aim, nth: u32, after: Option<usize>, fault: Fault) -> Entry {
    Entry { when: Trigger::Message { aim, nth, after }, fault, for_ms: 0, spec: 0 }
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Sockets, HTTP/2, tonic's server.
    Process,
    /// One thread, virtual time.
    Simulation,
}

/// A granter behind a link between two nodes, and the record of what the link carried.
pub struct Wire {
    /// The fabric of the link.
    pub fabric: Fabric,
    /// The node behind it.
    pub granter: Granter,
    /// The node before it.
    pub client: LockClient<Channel>,
    recorder: Recorder,
}

impl Wire {
    /// A granter that takes `takes_ms` for each answer.
    pub async fn new(engine: Engine, takes_ms: u64) -> Self {
        let granter = Granter { takes_ms, ..Granter::default() };
        let recorder = Recorder::in_memory();
        let decoder = Decoder::new(wire::DESCRIPTORS).unwrap();
        let (fabric, _strikes) = Fabric::new(RunClock::default(), decoder, recorder.clone());
        fabric.clock().start();
        let channel = match engine {
            Engine::Process => by_tcp(&fabric, &granter).await,
            Engine::Simulation => simulated(&fabric, &granter),
        };
        Self { fabric, granter, client: LockClient::new(channel), recorder }
    }

    /// The `nth` Acquire in `phase`, or the `nth` that was answered with `reply`, sets off `fault`.
    pub fn arm(&self, fault: Fault, phase: Phase, reply: Option<&str>, nth: u32) {
        let aim = Aim { reply: reply.map(str::to_owned), ..aim(phase) };
        self.fabric.arm(&[entry(aim, nth, None, fault)]);
    }

    /// Cuts the way from `from` to `to`.
    pub fn cut(&self, from: &str, to: &str, mode: Mode) {
        self.fabric.cut(7, vec![(from.into(), to.into())], mode);
    }

    /// One Acquire that its caller gives up after 300 ms: its token, or how it failed.
    pub async fn acquire(&mut self, owner: &str) -> Result<u64, Code> {
        let call = self.client.acquire(request(owner));
        let reply = timeout(Duration::from_millis(300), call).await;
        let reply = reply.map_err(|_| Code::DeadlineExceeded)?.map_err(|status| status.code())?;
        match reply.into_inner().outcome {
            Some(wire::acquire_reply::Outcome::Granted(granted)) => Ok(granted.token),
            other => panic!("{other:?}"),
        }
    }

    /// How many calls have reached the granter.
    pub fn reached(&self) -> u64 {
        self.granter.reached.load(Ordering::SeqCst)
    }
}

/// An Acquire by `owner`.
pub fn request(owner: &str) -> wire::AcquireRequest {
    wire::AcquireRequest { name: "lock".into(), owner: owner.into(), request_no: 1, lease_ms: 1000 }
}

async fn by_tcp(fabric: &Fabric, granter: &Granter) -> Channel {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(upstream);
    let server = Server::builder().add_service(LockServer::new(granter.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let link = Link::between_nodes(fabric.clone(), "n1", "n2", Connection::to(&address));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = Channel::connect(&listener.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(link.serve(listener));
    channel
}

fn simulated(fabric: &Fabric, granter: &Granter) -> Channel {
    let inbox = Inbox::new(Latency::new(StdRng::seed_from_u64(1), 1));
    let services = Services::new().with(LockServer::new(granter.clone()));
    let host = NodeHost::new("n2");
    let queue = inbox.listen();
    node::host::inside(Some(host.clone()), || node::spawn(network::serve(services, queue)));
    tokio::spawn(host.run());
    network::channel(Link::between_nodes(fabric.clone(), "n1", "n2", inbox))
}

/// Runs `scenario` on both engines and returns the record of each.
pub fn carried(scenario: impl AsyncFn(Engine) -> Wire) -> [Vec<Message>; 2] {
    [Engine::Process, Engine::Simulation].map(|engine| {
        println!("on {engine:?}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(engine == Engine::Simulation)
            .build()
            .unwrap();
        let Wire { fabric, client, recorder, .. } = runtime.block_on(scenario(engine));
        drop((fabric, client));
        drop(runtime);
        let mut messages = recorder.take();
        messages.sort_by_key(|message| (message.id, message.copy));
        messages
    })
}

/// A message as it goes over the wire: not compressed, its length, itself.
pub fn frame(message: &impl prost::Message) -> bytes::Bytes {
    let payload = message.encode_to_vec();
    let length = u32::try_from(payload.len()).expect("a message is small").to_be_bytes();
    [&[0][..], &length, &payload].concat().into()
}
