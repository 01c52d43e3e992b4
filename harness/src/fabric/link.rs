//! One link of the fabric: a gRPC proxy that carries whole messages from one sender to one node.

use std::{
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header, request::Parts};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder as ClientBuilder, SendRequest},
    server::conn::http2::Builder as ServerBuilder,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use node::{BoxError, Channel};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::sleep,
};
use tonic::{Status, body::Body};

use super::{
    Fabric, Plan,
    fault::{Phase, Sighting},
    record::{Lost, Message, method_of},
};

// hyper's own limits (200 streams, 20 resets) would queue a stampede and answer a wave of
// timeouts with GOAWAY: faults that no schedule asked for.
const MAX_STREAMS: u32 = 100_000;
const MAX_PENDING_RESETS: usize = 10_000;

/// The way from one client or node to one node.
pub struct Link {
    fabric: Fabric,
    from: String,
    to: String,
    /// Where the receiver listens, `host:port`.
    address: String,
    /// Whether cuts between nodes concern it: clients reach every node.
    between_nodes: bool,
    connection: tokio::sync::Mutex<Option<SendRequest<Body>>>,
}

/// A whole reply, held until the fabric lets it go.
struct Reply {
    head: http::response::Parts,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Link {
    /// The link from one node to another, which listens on `address`.
    pub fn between_nodes(fabric: Fabric, from: &str, to: &str, address: &str) -> Arc<Self> {
        Arc::new(Self::new(fabric, from, to, address, true))
    }

    /// The link from a client to a node, which listens on `address`.
    pub fn from_client(fabric: Fabric, from: &str, to: &str, address: &str) -> Arc<Self> {
        Arc::new(Self::new(fabric, from, to, address, false))
    }

    fn new(fabric: Fabric, from: &str, to: &str, address: &str, between_nodes: bool) -> Self {
        let connection = tokio::sync::Mutex::default();
        let (from, to, address) = (from.into(), to.into(), address.into());
        Self { fabric, from, to, address, between_nodes, connection }
    }

    fn is_cut(&self) -> bool {
        self.between_nodes && self.fabric.is_cut(&self.from, &self.to)
    }

    /// The link as a channel inside this process, for a client of the harness.
    pub fn channel(self: Arc<Self>) -> Channel {
        Channel::over(tower::service_fn(move |request: Request<Body>| {
            let link = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, BoxError>(link.carry(head, body).await)
            }
        }))
    }

    /// Carries the calls of every connection that `listener` accepts, for a node.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: let some calls end first.
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            tokio::spawn(self.clone().serve_connection(stream));
        }
    }

    async fn serve_connection(self: Arc<Self>, stream: TcpStream) {
        let handler = service_fn(move |request: Request<Incoming>| {
            let link = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, hyper::Error>(link.carry(head, body).await)
            }
        });
        // How a connection ends is the sender's business: it was killed, or it hung up.
        let _ = ServerBuilder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .serve_connection(TokioIo::new(stream), handler)
            .await;
    }

    /// Carries one message and gives its reply; for a lost one, never returns, as a network would.
    async fn carry(self: Arc<Self>, head: Parts, body: Bytes) -> Response<Body> {
        let flight = Flight::start(&self, head.uri.path(), &body);
        let (answer, answered) = oneshot::channel();
        // A message travels on its own: a sender that gives up does not call it back.
        tokio::spawn(Box::pin(self.travel(flight.clone(), head, body, answer)));
        let mut waiting = Waiting { flight, done: false };
        let reply = answered.await;
        waiting.done = reply.is_ok();
        match reply {
            Ok(response) => response,
            Err(_) => pending().await,
        }
    }

    async fn travel(
        self: Arc<Self>,
        flight: Arc<Flight>,
        head: Parts,
        body: Bytes,
        answer: oneshot::Sender<Response<Body>>,
    ) {
        let plan = self.plan(&flight, Phase::Request, &head, &[]).await;
        if let Some(after) = plan.duplicate {
            self.clone().send_copy(&flight, &head, &body, after);
        }
        sleep_unless_zero(plan.delay).await;
        if plan.drop {
            return flight.end(Lost::RequestDropped);
        }
        match self.clone().deliver(&flight, &head, body).await {
            Ok(Some(reply)) => drop(answer.send(reply.into_response())),
            Ok(None) => {}
            Err(status) => drop(answer.send(status.into_http())),
        }
    }

    /// What is to happen to the message at this moment of its life. `reply` is its gRPC frame.
    async fn plan(&self, flight: &Flight, phase: Phase, head: &Parts, reply: &[u8]) -> Plan {
        if !self.fabric.is_armed() {
            return Plan::default();
        }
        self.fabric.on_message(&flight.sighting(phase), head.uri.path(), reply).await
    }

    /// Sends a duplicate after its original; its reply reaches nobody.
    fn send_copy(self: Arc<Self>, flight: &Flight, head: &Parts, body: &Bytes, after: Duration) {
        let (copy, head, body) = (flight.copy(), head.clone(), body.clone());
        // Boxed, since a copy is delivered as its original is.
        let send: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            sleep(after).await;
            let _ = self.deliver(&copy, &head, body).await;
        });
        tokio::spawn(send);
    }

    /// Hands the message to the receiver and brings back its reply; `None` when one of the two was
    /// lost on the way.
    async fn deliver(
        self: Arc<Self>,
        flight: &Flight,
        head: &Parts,
        body: Bytes,
    ) -> Result<Option<Reply>, Status> {
        if self.is_cut() {
            flight.end(Lost::Cut);
            return Ok(None);
        }
        flight.note(|message, now_us| message.delivered_us = Some(now_us));
        let reply = match self.forward(head, body.clone()).await {
            Ok(reply) => reply,
            Err(error) => {
                flight.end(Lost::Unreachable);
                return Err(Status::unavailable(format!("{} is unreachable: {error:#}", self.to)));
            }
        };
        flight.note(|message, now_us| {
            message.replied_us = Some(now_us);
            message.code = reply.code();
            message.reply = Some(reply.body.clone().into());
        });
        let plan = self.plan(flight, Phase::Reply, head, &reply.body).await;
        if let Some(after) = plan.duplicate {
            self.clone().send_copy(flight, head, &body, after);
        }
        sleep_unless_zero(plan.delay).await;
        if plan.drop {
            flight.end(Lost::ReplyDropped);
            return Ok(None);
        }
        if self.is_cut() {
            flight.end(Lost::Cut);
            return Ok(None);
        }
        flight.note(|message, now_us| message.answered_us = Some(now_us));
        Ok(Some(reply))
    }

    async fn forward(&self, head: &Parts, body: Bytes) -> Result<Reply> {
        let mut request = Request::new(Body::new(Full::new(body)));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = self.uri(head)?;
        *request.headers_mut() = head.headers.clone();
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        // Uncompressed, so that the record can be read and faults can be aimed.
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
        let mut connection = self.connection().await?;
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        Ok(Reply { head, body: body.to_bytes(), trailers })
    }

    /// Where the message goes: a client inside this process names no host.
    fn uri(&self, head: &Parts) -> Result<Uri> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme("http").authority(self.address.as_str());
        Ok(uri.path_and_query(path).build()?)
    }

    /// The connection to the receiver, made anew when the last one is gone. It sends no keepalive:
    /// a paused node must look paused, not gone.
    async fn connection(&self) -> Result<SendRequest<Body>> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(&self.address).await.context("it does not listen")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = ClientBuilder::new(TokioExecutor::new())
            .handshake::<_, Body>(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            // The calls on it are told how it ended.
            let _ = driver.await;
        });
        Ok(connection.insert(sender).clone())
    }
}

async fn sleep_unless_zero(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

impl Reply {
    fn code(&self) -> Option<i32> {
        let trailers = self.trailers.as_ref().unwrap_or(&self.head.headers);
        trailers.get("grpc-status")?.to_str().ok()?.parse().ok()
    }

    fn into_response(self) -> Response<Body> {
        let body = match (self.body.is_empty(), self.trailers) {
            (true, None) => Body::new(Empty::new()),
            (_, None) => Body::new(Full::new(self.body)),
            (_, Some(trailers)) => {
                let trailers = async { Some(Ok(trailers)) };
                Body::new(Full::new(self.body).with_trailers(Box::pin(trailers)))
            }
        };
        Response::from_parts(self.head, body)
    }
}

/// The life of one message; it is recorded when the last who knows of it lets go.
struct Flight {
    fabric: Fabric,
    message: Mutex<Option<Message>>,
}

impl Flight {
    fn start(link: &Link, path: &str, body: &Bytes) -> Arc<Self> {
        let message = Message {
            id: link.fabric.next_id(),
            copy: 0,
            from: link.from.clone(),
            to: link.to.clone(),
            path: path.to_owned(),
            sent_us: link.fabric.clock().now_us(),
            delivered_us: None,
            replied_us: None,
            answered_us: None,
            gave_up_us: None,
            code: None,
            lost: None,
            request: body.clone().into(),
            reply: None,
        };
        Arc::new(Self { fabric: link.fabric.clone(), message: Mutex::new(Some(message)) })
    }

    fn copy(&self) -> Arc<Self> {
        let original = self.with(|message| message.clone());
        let (delivered_us, replied_us, code, reply) = (None, None, None, None);
        let message = Message { copy: 1, delivered_us, replied_us, code, reply, ..original };
        Arc::new(Self { fabric: self.fabric.clone(), message: Mutex::new(Some(message)) })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Message) -> T) -> T {
        let mut message = self.message.lock().expect("no holder of this lock panics");
        look(message.as_mut().expect("it is taken when it is dropped"))
    }

    fn note(&self, change: impl FnOnce(&mut Message, u64)) {
        let now_us = self.fabric.clock().now_us();
        self.with(|message| change(message, now_us));
    }

    fn end(&self, lost: Lost) {
        self.with(|message| message.lost = Some(lost));
    }

    fn sighting(&self, phase: Phase) -> Sighting {
        self.with(|message| Sighting {
            id: message.id,
            from: message.from.clone(),
            to: message.to.clone(),
            method: method_of(&message.path).to_owned(),
            phase,
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let message = self.message.get_mut().expect("no holder of this lock panics").take();
        self.fabric.record(message.expect("it is taken only here"));
    }
}

/// The sender's end of a message: notes when the sender stops waiting.
struct Waiting {
    flight: Arc<Flight>,
    done: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.flight.note(|message, now_us| message.gave_up_us = Some(now_us));
        }
    }
}
