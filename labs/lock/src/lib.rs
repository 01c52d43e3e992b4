//! Lab 1, a distributed lock: from the wire to the rules and back.
//!
//! The rules are elsewhere: `lease.rs` says what a request does to a lock, `coordinator.rs` gets a
//! majority to agree on it, `voter.rs` is one vote of that majority, `guard.rs` protects a value.

mod coordinator;
mod guard;
mod lease;
mod voter;

use std::{convert::Infallible, sync::Arc};

use node::{Context, Services};
use proto::lock::{
    self as wire, guard_server::GuardServer, lock_server::LockServer, peer_server::PeerServer,
};
use tonic::{Request, Response, Status};

use crate::{
    coordinator::{Coordinator, Refused},
    guard::Guard,
    voter::Voter,
};

/// Which sources this library was built from; the harness checks that it runs what it built.
pub const BUILD: &str = node::build_fingerprint!();

/// One node of the lock service.
pub async fn node(context: Context) -> Services {
    let voter = Arc::new(Voter::open(&context));
    let service = Service {
        coordinator: Arc::new(Coordinator::new(&context, voter.clone())),
        voter,
        guard: Arc::new(Guard::open(&context)),
    };
    Services::new()
        .with(LockServer::new(service.clone()))
        .with(GuardServer::new(service.clone()))
        .with(PeerServer::new(service))
}

#[derive(Clone)]
struct Service {
    coordinator: Arc<Coordinator>,
    voter: Arc<Voter>,
    guard: Arc<Guard>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::lock_server::Lock for Service {
    async fn acquire(&self, request: Request<wire::AcquireRequest>) -> Reply<wire::AcquireReply> {
        use wire::acquire_reply::Outcome;
        let request = request.into_inner();
        check_names(&request.name, Some(&request.owner))?;
        let rule = |lock: &mut wire::LockState, expired| lease::acquire(lock, &request, expired);
        let outcome = match self.coordinator.change(&request.name, rule).await {
            Ok(granted) => Outcome::Granted(granted),
            Err(Refused::ByRule(instead)) => instead,
            Err(Refused::NoMajority) => Outcome::Unavailable(wire::Unavailable {}),
        };
        Ok(Response::new(wire::AcquireReply { outcome: Some(outcome) }))
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Reply<wire::RenewReply> {
        use wire::renew_reply::Outcome;
        let request = request.into_inner();
        check_names(&request.name, Some(&request.owner))?;
        let rule = |lock: &mut wire::LockState, _| lease::renew(lock, &request);
        let outcome = match self.coordinator.change(&request.name, rule).await {
            Ok(ok) => Outcome::Ok(ok),
            Err(Refused::ByRule(lost)) => Outcome::Lost(lost),
            Err(Refused::NoMajority) => Outcome::Unavailable(wire::Unavailable {}),
        };
        Ok(Response::new(wire::RenewReply { outcome: Some(outcome) }))
    }

    async fn release(&self, request: Request<wire::ReleaseRequest>) -> Reply<wire::ReleaseReply> {
        use wire::release_reply::Outcome;
        let request = request.into_inner();
        check_names(&request.name, Some(&request.owner))?;
        let rule = |lock: &mut wire::LockState, _| {
            lease::release(lock, &request);
            Ok::<_, Infallible>(wire::Ok {})
        };
        let outcome = match self.coordinator.change(&request.name, rule).await {
            Ok(ok) => Outcome::Ok(ok),
            Err(_) => Outcome::Unavailable(wire::Unavailable {}),
        };
        Ok(Response::new(wire::ReleaseReply { outcome: Some(outcome) }))
    }
}

#[tonic::async_trait]
impl wire::guard_server::Guard for Service {
    async fn write(&self, request: Request<wire::WriteRequest>) -> Reply<wire::WriteReply> {
        let wire::WriteRequest { name, token, seq, value } = request.into_inner();
        check_names(&name, None)?;
        let outcome = self.guard.write(name, wire::Written { token, seq, value }).await;
        Ok(Response::new(wire::WriteReply { outcome: Some(outcome) }))
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Reply<wire::ReadReply> {
        let name = request.into_inner().name;
        check_names(&name, None)?;
        let outcome = self.guard.read(name).await;
        Ok(Response::new(wire::ReadReply { outcome: Some(outcome) }))
    }
}

#[tonic::async_trait]
impl wire::peer_server::Peer for Service {
    async fn prepare(&self, request: Request<wire::PrepareRequest>) -> Reply<wire::PrepareReply> {
        Ok(Response::new(self.voter.prepare(request.into_inner()).await))
    }

    async fn accept(&self, request: Request<wire::AcceptRequest>) -> Reply<wire::AcceptReply> {
        Ok(Response::new(self.voter.accept(request.into_inner()).await))
    }

    async fn store(&self, request: Request<wire::StoreRequest>) -> Reply<wire::StoreReply> {
        Ok(Response::new(self.guard.store(request.into_inner()).await))
    }

    async fn load(&self, request: Request<wire::LoadRequest>) -> Reply<wire::LoadReply> {
        Ok(Response::new(self.guard.load(&request.into_inner())))
    }
}

fn check_names(name: &str, owner: Option<&str>) -> Result<(), Status> {
    if name.is_empty() || owner.is_some_and(str::is_empty) {
        return Err(Status::invalid_argument("a lock and an owner need a name"));
    }
    Ok(())
}
