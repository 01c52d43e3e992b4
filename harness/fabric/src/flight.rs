//! The life of one message: sent, delivered, replied, answered, or lost on the way.

use std::{
    future::{Future, pending, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::Result;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Response, request::Parts};
use http_body_util::{BodyExt, Empty, Full};
use tokio::{sync::oneshot, time::sleep};
use tonic::{Status, body::Body};

use crate::{
    Link, Plan,
    fault::{Mode, Phase},
    record::{Lost, Message, method_of},
    trigger::Seen,
};

// Headers by their names as parsed once: text is parsed again for each message.
static ACCEPTED_ENCODINGS: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Sends one message over `link` and gives its reply; for a lost one, never returns, as a network
/// would. What is returned is small: the message is on its way, and not in it.
pub fn carry(link: Arc<Link>, head: Parts, body: Bytes) -> impl Future<Output = Response<Body>> {
    let flight = Flight::start(link, head, body);
    let (answer, answered) = oneshot::channel();
    // A message travels on its own: a sender that gives up does not call it back.
    crate::spawn(flight.clone().travel(answer));
    Waiting { flight, done: false }.until(answered)
}

/// A message under way; it is recorded when the last who knows of it lets go.
struct Flight {
    link: Arc<Link>,
    head: Parts,
    body: Bytes,
    /// How many duplicates of it there are.
    copies: AtomicU8,
    message: Mutex<Option<Message>>,
}

/// A whole reply, held until the fabric lets it go.
#[derive(Debug)]
pub struct Reply {
    /// Its head.
    pub head: http::response::Parts,
    /// Its gRPC frame; empty when the call failed.
    pub body: Bytes,
    /// How the call ended, unless the head says so already.
    pub trailers: Option<HeaderMap>,
}

impl Flight {
    fn start(link: Arc<Link>, mut head: Parts, body: Bytes) -> Arc<Self> {
        // They do not leave the sender.
        head.extensions.clear();
        // Uncompressed, so that the record can be read and faults can be aimed.
        head.headers.insert(&ACCEPTED_ENCODINGS, HeaderValue::from_static("identity"));
        let message = Message {
            id: link.fabric.next_id(),
            copy: 0,
            from: link.from.clone(),
            to: link.to.clone(),
            path: head.uri.path().to_owned(),
            sent_us: link.fabric.clock().now_us(),
            delivered_us: None,
            replied_us: None,
            answered_us: None,
            gave_up_us: None,
            code: None,
            lost: None,
            held: false,
            request: body.clone().into(),
            reply: None,
        };
        let copies = AtomicU8::new(0);
        Arc::new(Self { link, head, body, copies, message: Mutex::new(Some(message)) })
    }

    async fn travel(self: Arc<Self>, answer: oneshot::Sender<Response<Body>>) {
        let mut plan = self.plan(Phase::Request, &[]).await;
        self.send_copies(&mut plan);
        self.wait(&mut plan).await;
        if plan.drop {
            return self.end(Lost::RequestDropped);
        }
        if plan.refuse {
            self.end(Lost::Refused);
            let refused = Status::unavailable(format!("{} refused the connection", self.link.to));
            return drop(answer.send(refused.into_http()));
        }
        match self.deliver().await {
            Ok(Some(reply)) => drop(answer.send(reply.into_response())),
            Ok(None) => {}
            Err(status) => drop(answer.send(status.into_http())),
        }
    }

    /// Hands the message to the receiver and brings back its reply; `None` when one of the two was
    /// lost on the way.
    async fn deliver(&self) -> Result<Option<Reply>, Status> {
        if !self.passes(Phase::Request).await {
            self.end(Lost::Cut);
            return Ok(None);
        }
        self.note(|message, now_us| message.delivered_us = Some(now_us));
        let exit = &self.link.exit;
        let reply = match exit.deliver(self.head.clone(), self.body.clone()).await {
            Ok(reply) => reply,
            Err(error) => {
                self.end(Lost::Unreachable);
                let what = format!("{} is unreachable: {error:#}", self.link.to);
                return Err(Status::unavailable(what));
            }
        };
        self.note(|message, now_us| {
            message.replied_us = Some(now_us);
            message.code = reply.code();
            message.reply = Some(reply.body.clone().into());
        });
        let mut plan = self.plan(Phase::Reply, &reply.body).await;
        self.send_copies(&mut plan);
        self.wait(&mut plan).await;
        if plan.drop {
            self.end(Lost::ReplyDropped);
            return Ok(None);
        }
        if !self.passes(Phase::Reply).await {
            self.end(Lost::Cut);
            return Ok(None);
        }
        self.note(|message, now_us| {
            message.answered_us = (message.copy == 0).then_some(now_us);
        });
        Ok(Some(reply))
    }

    /// What is to happen to the message at this moment of its life. `reply` is its gRPC frame.
    /// A duplicate, whose reply reaches nobody, sets off nothing.
    async fn plan(&self, phase: Phase, reply: &[u8]) -> Plan {
        let fabric = &self.link.fabric;
        let (id, copy) = self.with(|message| (message.id, message.copy));
        if !fabric.is_armed() || copy > 0 {
            return Plan::default();
        }
        let Link { from, to, .. } = &*self.link;
        let path = self.head.uri.path();
        let method = method_of(path);
        let seen = Seen { id, from, to, phase, path, method, request: &self.body, reply };
        fabric.on_message(&seen).await
    }

    async fn wait(&self, plan: &mut Plan) {
        if !plan.holds.is_empty() {
            join_all(plan.holds.drain(..).map(|hold| self.link.fabric.wait(hold))).await;
        }
        if !plan.delay.is_zero() {
            sleep(plan.delay).await;
        }
    }

    /// Whether the request, or the reply, gets through the cuts there are; it may have to wait for
    /// a heal first.
    async fn passes(&self, phase: Phase) -> bool {
        loop {
            match self.link.blocked(phase) {
                None => return true,
                Some(Mode::Silent | Mode::Reset) => return false,
                Some(Mode::Hold) => {
                    self.with(|message| message.held = true);
                    let look = || (self.link.blocked(phase) != Some(Mode::Hold)).then_some(());
                    self.link.fabric.wait_for_cuts(look).await;
                }
            }
        }
    }

    /// Sends the duplicates that `plan` wants after this message; their replies reach nobody.
    fn send_copies(&self, plan: &mut Plan) {
        for hold in plan.duplicates.drain(..) {
            let copy = self.copies.fetch_add(1, Ordering::Relaxed) + 1;
            let message = Message { copy, ..self.with(|message| message.clone()).as_sent() };
            let copy = Self {
                link: self.link.clone(),
                head: self.head.clone(),
                body: self.body.clone(),
                copies: AtomicU8::new(0),
                message: Mutex::new(Some(message)),
            };
            // Boxed, since a copy is delivered as its original is.
            let send: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
                copy.link.fabric.wait(hold).await;
                let _ = copy.deliver().await;
            });
            crate::spawn(send);
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Message) -> T) -> T {
        let mut message = self.message.lock().expect("no holder of this lock panics");
        look(message.as_mut().expect("it is taken when it is dropped"))
    }

    fn note(&self, change: impl FnOnce(&mut Message, u64)) {
        let now_us = self.link.fabric.clock().now_us();
        self.with(|message| change(message, now_us));
    }

    fn end(&self, lost: Lost) {
        self.with(|message| message.lost = Some(lost));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let message = self.message.get_mut().expect("no holder of this lock panics").take();
        self.link.fabric.record(message.expect("it is taken only here"));
    }
}

/// The sender's end of a message: notes when the sender stops waiting.
struct Waiting {
    flight: Arc<Flight>,
    done: bool,
}

impl Waiting {
    async fn until(mut self, answered: oneshot::Receiver<Response<Body>>) -> Response<Body> {
        let reply = answered.await;
        self.done = reply.is_ok();
        match reply {
            Ok(response) => response,
            Err(_) => pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.flight.note(|message, now_us| message.gave_up_us = Some(now_us));
        }
    }
}

impl Reply {
    fn code(&self) -> Option<i32> {
        let trailers = self.trailers.as_ref().unwrap_or(&self.head.headers);
        trailers.get(&STATUS)?.to_str().ok()?.parse().ok()
    }

    fn into_response(self) -> Response<Body> {
        let body = match (self.body.is_empty(), self.trailers) {
            (true, None) => Body::new(Empty::new()),
            (_, None) => Body::new(Full::new(self.body)),
            (_, Some(trailers)) => {
                Body::new(Full::new(self.body).with_trailers(ready(Some(Ok(trailers)))))
            }
        };
        Response::from_parts(self.head, body)
    }
}
