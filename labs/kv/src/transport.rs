//! How questions get to the other nodes, and answers back.

use std::{collections::BTreeMap, time::Duration};

use node::Channel;
use proto::kv::peer_client::PeerClient;
use tokio::{sync::mpsc::UnboundedSender, time::timeout};
use tonic::Response;

use crate::{
    raft::message::{FromPeer, ToPeer},
    server::Input,
};

/// How long a question may take, in milliseconds.
const DEADLINE: Duration = Duration::from_millis(200);

/// The ways to the other nodes.
pub struct Transport {
    peers: BTreeMap<String, PeerClient<Channel>>,
    inbox: UnboundedSender<Input>,
}

impl Transport {
    /// Answers come to `inbox`.
    pub fn new(peers: Vec<(String, Channel)>, inbox: UnboundedSender<Input>) -> Self {
        let client = |(id, channel)| (id, PeerClient::new(channel));
        Self { peers: peers.into_iter().map(client).collect(), inbox }
    }

    /// Sends `request` to `peer`; what comes back, or that nothing does, is one input.
    pub fn send(&self, peer: String, request: ToPeer) {
        let Some(client) = self.peers.get(&peer).cloned() else { return };
        let inbox = self.inbox.clone();
        node::spawn(async move {
            let reply = timeout(DEADLINE, call(client, request.clone())).await;
            let reply = reply.ok().and_then(Result::ok);
            // Nobody listens any more when the node goes down.
            let _ = inbox.send(Input::Replied { peer, request, reply });
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
