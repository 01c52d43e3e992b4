//! What a node offers: gRPC services, each reached by its name.

use std::{collections::BTreeMap, convert::Infallible, fmt};

use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tower::{Service, ServiceExt, util::BoxService};

/// The gRPC services of a lab, as generated servers: `Services::new().with(LockServer::new(lock))`.
#[derive(Default)]
pub struct Services {
    /// For a server with connections.
    routes: Routes,
    /// For a simulation, which has a message at a time and wants no router's detours.
    by_name: BTreeMap<&'static str, Calls>,
}

type Calls = BoxService<Request<Body>, Response<Body>, Infallible>;
/// The answer to one call.
pub type Answer = <Calls as Service<Request<Body>>>::Future;

impl Services {
    /// No services yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// These services and `service`.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service.clone());
        self.by_name.insert(S::NAME, service.boxed());
        self
    }

    pub(crate) fn into_routes(self) -> Routes {
        self.routes
    }

    /// Hands `request` to the service that its path names, `/package.Service/Method`.
    #[doc(hidden)]
    pub fn call(&mut self, request: Request<Body>) -> Answer {
        let path = request.uri().path();
        let name = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match name.and_then(|(name, _)| self.by_name.get_mut(name)) {
            // A generated server is always ready.
            Some(service) => service.call(request),
            None => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.by_name.keys()).finish()
    }
}
