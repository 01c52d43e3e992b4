//! How questions get to the other nodes, and answers back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use node::Channel;
use proto::kv::peer_client::PeerClient;
use tokio::time::timeout;
use tonic::Response;

use crate::raft::message::{FromPeer, ToPeer};

/// How long a question may take, in milliseconds.
const DEADLINE: Duration = Duration::from_millis(200);

/// Is told who was asked what, and what came back, if anything did in time.
type OnReply = Arc<dyn Fn(String, ToPeer, Option<FromPeer>) + Send + Sync>;

/// The ways to the other nodes.
pub struct Transport {
    peers: BTreeMap<String, PeerClient<Channel>>,
    on_reply: OnReply,
}

impl Transport {
    /// What becomes of each question is told to `on_reply`.
    pub fn new(
        peers: Vec<(String, Channel)>,
        on_reply: impl Fn(String, ToPeer, Option<FromPeer>) + Send + Sync + 'static,
    ) -> Self {
        let client = |(id, channel)| (id, PeerClient::new(channel));
        let peers = peers.into_iter().map(client).collect();
        Self { peers, on_reply: Arc::new(on_reply) }
    }

    /// Sends `request` to `peer`, if there is one of that name.
    pub fn send(&self, peer: String, request: ToPeer) {
        let Some(client) = self.peers.get(&peer).cloned() else { return };
        let on_reply = self.on_reply.clone();
        node::spawn(async move {
            let reply = timeout(DEADLINE, call(client, request.clone())).await;
            on_reply(peer, request, reply.ok().and_then(Result::ok));
        });
    }
}

async fn call(mut client: PeerClient<Channel>, request: ToPeer) -> Result<FromPeer, tonic::Status> {
    Ok(match request {
        ToPeer::Vote(request) => {
            FromPeer::Vote(client.request_vote(request).await.map(Response::into_inner)?)
        }
        ToPeer::Append(request, _) => {
            FromPeer::Append(client.append_entries(request).await.map(Response::into_inner)?)
        }
        ToPeer::Snapshot(request) => {
            FromPeer::Snapshot(client.install_snapshot(request).await.map(Response::into_inner)?)
        }
    })
}
