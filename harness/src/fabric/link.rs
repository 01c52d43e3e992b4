//! One link of the fabric: where messages enter it, and the connection on which they leave it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, uri::Authority};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2::Builder as ServerBuilder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use node::{BoxError, Channel};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tonic::body::Body;

use super::{
    Fabric,
    fault::{Mode, Phase},
    flight,
};

// hyper's own limits (200 streams, 20 resets) would queue a stampede and answer a wave of
// timeouts with GOAWAY: faults that no schedule asked for.
const MAX_STREAMS: u32 = 100_000;
const MAX_PENDING_RESETS: usize = 10_000;

/// The way from one client or node to one node.
pub struct Link {
    pub(super) fabric: Fabric,
    pub(super) from: String,
    pub(super) to: String,
    /// Where the receiver listens.
    pub(super) address: Authority,
    /// Whether cuts between nodes concern it: clients reach every node.
    between_nodes: bool,
    connection: tokio::sync::Mutex<Option<SendRequest<Bytes>>>,
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
        let address = address.parse().expect("a node's address is a host and a port");
        let (from, to) = (from.into(), to.into());
        Self { fabric, from, to, address, between_nodes, connection }
    }

    /// How requests on their way to the receiver, or replies on their way back, are blocked at the
    /// moment, if they are.
    pub(super) fn blocked(&self, phase: Phase) -> Option<Mode> {
        let (from, to) = match phase {
            Phase::Request => (&self.from, &self.to),
            Phase::Reply => (&self.to, &self.from),
        };
        if self.between_nodes { self.fabric.blocked(from, to) } else { None }
    }

    /// Whether connections are closed and refused at the moment.
    fn is_reset(&self) -> bool {
        [Phase::Request, Phase::Reply].map(|it| self.blocked(it)).contains(&Some(Mode::Reset))
    }

    /// The link as a channel inside this process, for a client of the harness.
    pub fn channel(self: Arc<Self>) -> Channel {
        Channel::over(tower::service_fn(move |request: Request<Body>| {
            let link = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
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
            tokio::spawn(self.clone().serve_connection(stream));
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
        let reset = self.fabric.wait_for_cuts(|| self.is_reset().then_some(()));
        // How a connection ends is the sender's business: it was killed, or it hung up.
        tokio::select! {
            _ = served => {}
            () = reset => {}
        }
    }

    /// The connection to the receiver, made anew when the last one is gone. It sends no keepalive:
    /// a paused node must look paused, not gone.
    ///
    /// This is h2 and not hyper's client, which sends the head of a message and its body in two
    /// writes: the receiver would be woken twice.
    pub(super) async fn connection(&self) -> Result<SendRequest<Bytes>> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.clone()
            && let Ok(ready) = open.ready().await
        {
            return Ok(ready);
        }
        let stream =
            TcpStream::connect(self.address.as_str()).await.context("it does not listen")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            // The calls on it are told how it ended.
            let _ = driver.await;
        });
        let sender = sender.ready().await?;
        Ok(connection.insert(sender).clone())
    }
}
