//! One link of the fabric: where messages enter it, and what becomes of them when it is cut.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2::Builder as ServerBuilder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use node::{BoxError, Channel};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tonic::{Status, body::Body};

use crate::{
    Fabric,
    fault::{Mode, Phase},
    flight::{self, Reply},
};

// hyper's own limits (200 streams, 20 resets) would queue a stampede and answer a wave of
// timeouts with GOAWAY: faults that no schedule asked for.
const MAX_STREAMS: u32 = 100_000;
const MAX_PENDING_RESETS: usize = 10_000;

/// All of a body inside this process, and its trailers. It is one frame of data when the call is
/// unary, and passed on as it is.
pub async fn whole(mut body: Body) -> Result<(Bytes, Option<HeaderMap>), Status> {
    let (mut data, mut trailers) = (Bytes::new(), None);
    while let Some(frame) = body.frame().await.transpose()? {
        match frame.into_data() {
            Ok(only) if data.is_empty() => data = only,
            Ok(next) => data = [data, next].concat().into(),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((data, trailers))
}

/// The far end of a link.
pub trait Exit: Send + Sync {
    /// Hands a request (its head and its gRPC frame) to the receiver and brings back the reply.
    ///
    /// # Errors
    /// When the receiver cannot be reached, or falls before it has answered.
    fn deliver(&self, head: Parts, body: Bytes) -> Delivery<'_>;
}

/// A message on its last leg.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>;

/// The way from one client or node to one node.
pub struct Link {
    pub(crate) fabric: Fabric,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) exit: Box<dyn Exit>,
    /// Whether cuts between nodes concern it: clients reach every node.
    between_nodes: bool,
}

impl Link {
    /// The link from one node to another, which is reached by `exit`.
    pub fn between_nodes(
        fabric: Fabric,
        from: &str,
        to: &str,
        exit: impl Exit + 'static,
    ) -> Arc<Self> {
        Self::new(fabric, from, to, exit, true)
    }

    /// The link from a client to a node, which is reached by `exit`.
    pub fn from_client(
        fabric: Fabric,
        from: &str,
        to: &str,
        exit: impl Exit + 'static,
    ) -> Arc<Self> {
        Self::new(fabric, from, to, exit, false)
    }

    fn new(
        fabric: Fabric,
        from: &str,
        to: &str,
        exit: impl Exit + 'static,
        between_nodes: bool,
    ) -> Arc<Self> {
        let (from, to, exit) = (from.into(), to.into(), Box::new(exit));
        Arc::new(Self { fabric, from, to, exit, between_nodes })
    }

    /// How requests on their way to the receiver, or replies on their way back, are blocked at the
    /// moment, if they are.
    pub(crate) fn blocked(&self, phase: Phase) -> Option<Mode> {
        let (from, to) = match phase {
            Phase::Request => (&self.from, &self.to),
            Phase::Reply => (&self.to, &self.from),
        };
        if self.between_nodes { self.fabric.blocked(from, to) } else { None }
    }

    /// Whether connections are closed and refused at the moment.
    pub fn is_reset(&self) -> bool {
        [Phase::Request, Phase::Reply].map(|it| self.blocked(it)).contains(&Some(Mode::Reset))
    }

    /// Waits until connections are closed and refused.
    pub async fn reset(&self) {
        self.fabric.wait_for_cuts(|| self.is_reset().then_some(())).await;
    }

    /// Carries one message; for a lost one, never returns, as a network would.
    pub fn carry(
        self: Arc<Self>,
        head: Parts,
        body: Bytes,
    ) -> impl Future<Output = Response<Body>> {
        flight::carry(self, head, body)
    }

    /// The link as a channel inside this process, for a client of the harness.
    pub fn channel(self: Arc<Self>) -> Channel {
        Channel::over(tower::service_fn(move |request: Request<Body>| {
            let link = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let (body, _) = whole(body).await?;
                Ok::<_, BoxError>(flight::carry(link, head, body).await)
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
            if self.is_reset() {
                // Closed with a reset, as by a firewall.
                let _ = stream.set_zero_linger();
                continue;
            }
            let _ = stream.set_nodelay(true);
            crate::spawn(self.clone().serve_connection(stream));
        }
    }

    async fn serve_connection(self: Arc<Self>, stream: TcpStream) {
        let link = self.clone();
        let handler = service_fn(move |request: Request<Incoming>| {
            let link = link.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, hyper::Error>(flight::carry(link, head, body).await)
            }
        });
        let served = ServerBuilder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .serve_connection(TokioIo::new(stream), handler);
        // How a connection ends is the sender's business: it was killed, or it hung up.
        tokio::select! {
            _ = served => {}
            () = self.reset() => {}
        }
    }
}
