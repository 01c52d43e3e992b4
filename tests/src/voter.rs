//! The smallest peer of the lock lab, for benchmarks of what carries its calls.

use proto::lock::{
    AcceptReply, AcceptRequest, LoadReply, LoadRequest, PrepareReply, PrepareRequest, StoreReply,
    StoreRequest, peer_server::Peer,
};
use tonic::{Request, Response, Status};

/// A voter that promises whatever it is asked: it costs as little as a server can.
#[derive(Clone, Copy, Debug)]
pub struct Voter;

#[tonic::async_trait]
impl Peer for Voter {
    async fn prepare(
        &self,
        request: Request<PrepareRequest>,
    ) -> Result<Response<PrepareReply>, Status> {
        let promised = request.into_inner().ballot;
        Ok(Response::new(PrepareReply { ok: true, promised, accepted: None }))
    }

    async fn accept(&self, _: Request<AcceptRequest>) -> Result<Response<AcceptReply>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn store(&self, _: Request<StoreRequest>) -> Result<Response<StoreReply>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn load(&self, _: Request<LoadRequest>) -> Result<Response<LoadReply>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}
