//! The network of a simulation: what tonic's connections do to calls, without connections.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, request::Parts};
use http_body_util::Full;
use node::{Answer, BoxError, Channel, Services};
use rand::{RngExt, rngs::StdRng};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tonic::{Status, TimeoutExpired, body::Body};

use crate::fabric::{Delivery, Exit, Link, Reply, whole};

/// How long it takes to be refused a connection: time must not stand still for somebody who tries
/// again and again.
const REFUSED_AFTER: Duration = Duration::from_millis(1);

/// How long a caller wants to wait; parsed once and not for each message.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A request that has arrived at a node.
pub struct Incoming {
    head: Parts,
    body: Bytes,
    reply: oneshot::Sender<Reply>,
}

/// Where the messages for one node arrive; cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    /// `None` while the node does not listen.
    open: Arc<Mutex<Option<mpsc::UnboundedSender<Incoming>>>>,
    latency: Latency,
}

/// How long messages take; cheap to clone.
#[derive(Clone)]
pub struct Latency {
    random: Arc<Mutex<StdRng>>,
    most_ms: u64,
}

impl Latency {
    /// Every request takes from one to `most_ms` milliseconds, every reply as much or nothing.
    pub fn new(random: StdRng, most_ms: u64) -> Self {
        Self { random: Arc::new(Mutex::new(random)), most_ms: most_ms.max(1) }
    }

    /// A call takes some time, even one that is refused.
    async fn request(&self) {
        let ms = self.draw(1);
        sleep(Duration::from_millis(ms)).await;
    }

    async fn reply(&self) {
        let ms = self.draw(0);
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
    }

    fn draw(&self, least_ms: u64) -> u64 {
        let mut random = self.random.lock().expect("no holder of this lock panics");
        random.random_range(least_ms..=self.most_ms)
    }
}

impl Inbox {
    /// The inbox of a node that does not listen yet.
    pub fn new(latency: Latency) -> Self {
        Self { open: Arc::default(), latency }
    }

    /// From now on, messages arrive in the returned queue.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Incoming> {
        let (sender, queue) = mpsc::unbounded_channel();
        *self.open() = Some(sender);
        queue
    }

    /// From now on, messages are refused.
    pub fn close(&self) {
        *self.open() = None;
    }

    /// Whether messages arrive.
    pub fn is_open(&self) -> bool {
        self.open().is_some()
    }

    fn open(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Incoming>>> {
        self.open.lock().expect("no holder of this lock panics")
    }

    async fn call(&self, head: Parts, body: Bytes) -> Result<Reply> {
        self.latency.request().await;
        let (reply, answered) = oneshot::channel();
        let sender = self.open().clone().context("it does not listen")?;
        let incoming = Incoming { head, body, reply };
        sender.send(incoming).ok().context("it does not listen")?;
        let reply = answered.await.context("it fell before it had answered")?;
        self.latency.reply().await;
        Ok(reply)
    }
}

impl Exit for Inbox {
    fn deliver(&self, head: Parts, body: Bytes) -> Delivery<'_> {
        Box::pin(self.call(head, body))
    }
}

/// Answers what arrives in `queue` by `services`, each message in a task of the node.
pub async fn serve(mut services: Services, mut queue: mpsc::UnboundedReceiver<Incoming>) {
    while let Some(Incoming { head, body, reply }) = queue.recv().await {
        let patience = grpc_timeout(&head.headers);
        let call = services.call(Request::from_parts(head, Body::new(Full::new(body))));
        node::spawn(answer(call, patience, reply));
    }
}

async fn answer(call: Answer, patience: Option<Duration>, reply: oneshot::Sender<Reply>) {
    let answered = match patience {
        // What tonic's transport server does, and bare services do not.
        Some(patience) => timeout(patience, call).await.map_err(|_| TimeoutExpired(())),
        None => Ok(call.await),
    };
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(expired) => Status::from_error(expired.into()).into_http(),
    };
    let (head, body) = response.into_parts();
    let Ok((body, trailers)) = whole(body).await else { return };
    // Whoever asked may be gone.
    let _ = reply.send(Reply { head, body, trailers });
}

/// The channel of a node: `link` with what a connection of tonic's adds to it.
pub fn channel(link: Arc<Link>) -> Channel {
    Channel::over(tower::service_fn(move |request: Request<Body>| call(link.clone(), request)))
}

async fn call(link: Arc<Link>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let (body, _) = whole(body).await?;
    if link.is_reset() {
        sleep(REFUSED_AFTER).await;
        return Err(Status::unavailable("the connection was refused").into());
    }
    let patience = grpc_timeout(&head.headers);
    let carried = link.clone().carry(head, body);
    let answered = async {
        match patience {
            Some(patience) => timeout(patience, carried).await,
            None => Ok(carried.await),
        }
    };
    tokio::select! {
        biased;
        // A connection that breaks under a call leaves tonic without a better word for it.
        () = link.reset() => Err(Status::unknown("the connection was reset").into()),
        answered = answered => answered.map_err(|_| TimeoutExpired(()).into()),
    }
}

/// How long a caller wants to wait, by the gRPC specification's `grpc-timeout`: at most eight
/// digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = (digits.len() <= 8).then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
