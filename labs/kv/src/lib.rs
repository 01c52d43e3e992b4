//! Lab 3, a replicated key-value store: from the wire to the server and back.
//!
//! `raft/` is the paper's figure 2 as handlers over state, `machine.rs` what the entries come to,
//! `storage.rs` what survives a restart and `saves.rs` how much of it is there yet, `server.rs` the
//! loop that feeds the handlers, and `transport.rs` how messages get to the others.

#![allow(dead_code, reason = "a gap may leave alone what it should use")]

mod machine;
mod raft;
mod saves;
mod server;
mod storage;
mod transport;

use node::{Context, Services};
use proto::kv::{
    self as wire, command::Operation, kv_server::KvServer, peer_server::PeerServer, reply::Outcome,
};
use tonic::{Request, Response, Status};

use crate::{
    raft::message::{FromPeer, ToPeer},
    server::{Call, Handle},
};

/// Which sources this library was built from; the harness checks that it runs what it built.
pub const BUILD: &str = node::build_fingerprint!();

/// One node of the key-value service.
pub async fn node(context: Context) -> Services {
    let server = server::start(context);
    Services::new()
        .with(KvServer::new(Service(server.clone())))
        .with(PeerServer::new(Service(server)))
}

#[derive(Clone)]
struct Service(Handle);

type Reply<T> = Result<Response<T>, Status>;

impl Service {
    async fn write(
        &self,
        session: Option<wire::Session>,
        key: String,
        operation: Operation,
    ) -> Reply<wire::Reply> {
        if session.as_ref().is_none_or(|session| session.client.is_empty()) {
            return Err(Status::invalid_argument("a write needs a session with a client's name"));
        }
        let command = wire::Command { session, key, operation: Some(operation) };
        self.ask(Call::Write(command)).await
    }

    async fn ask(&self, call: Call) -> Reply<wire::Reply> {
        let outcome = self.0.ask(call).await.unwrap_or(Outcome::Unavailable(wire::Unavailable {}));
        Ok(Response::new(wire::Reply { outcome: Some(outcome) }))
    }

    async fn tell<T>(&self, request: ToPeer, read: impl Fn(FromPeer) -> Option<T>) -> Reply<T> {
        let reply = self.0.tell(request).await.and_then(read);
        let gone = || Status::unavailable("this node is going down");
        Ok(Response::new(reply.ok_or_else(gone)?))
    }
}

#[tonic::async_trait]
impl wire::kv_server::Kv for Service {
    async fn get(&self, request: Request<wire::GetRequest>) -> Reply<wire::Reply> {
        self.ask(Call::Read(request.into_inner().key)).await
    }

    async fn put(&self, request: Request<wire::PutRequest>) -> Reply<wire::Reply> {
        let wire::PutRequest { session, key, value } = request.into_inner();
        self.write(session, key, Operation::Put(value)).await
    }

    async fn append(&self, request: Request<wire::AppendRequest>) -> Reply<wire::Reply> {
        let wire::AppendRequest { session, key, value } = request.into_inner();
        self.write(session, key, Operation::Append(value)).await
    }

    async fn cas(&self, request: Request<wire::CasRequest>) -> Reply<wire::Reply> {
        let wire::CasRequest { session, key, expected, value } = request.into_inner();
        self.write(session, key, Operation::Cas(wire::Cas { expected, value })).await
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Reply<wire::Reply> {
        let wire::DeleteRequest { session, key } = request.into_inner();
        self.write(session, key, Operation::Delete(wire::Delete {})).await
    }
}

#[tonic::async_trait]
impl wire::peer_server::Peer for Service {
    async fn request_vote(&self, request: Request<wire::VoteRequest>) -> Reply<wire::VoteReply> {
        self.tell(ToPeer::Vote(request.into_inner()), |reply| match reply {
            FromPeer::Vote(reply) => Some(reply),
            _ => None,
        })
        .await
    }

    async fn append_entries(
        &self,
        request: Request<wire::AppendEntriesRequest>,
    ) -> Reply<wire::AppendEntriesReply> {
        self.tell(ToPeer::Append(request.into_inner(), 0), |reply| match reply {
            FromPeer::Append(reply) => Some(reply),
            _ => None,
        })
        .await
    }

    async fn install_snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Reply<wire::SnapshotReply> {
        self.tell(ToPeer::Snapshot(request.into_inner()), |reply| match reply {
            FromPeer::Snapshot(reply) => Some(reply),
            _ => None,
        })
        .await
    }
}
