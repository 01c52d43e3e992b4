//! The one channel type of all labs: a real connection here, a simulated link elsewhere.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// Any error of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Calls = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Carries calls to one other node; cheap to clone. Give it to any generated client:
/// `LockClient::new(channel)`.
#[derive(Clone)]
pub struct Channel(Calls);

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

impl Channel {
    /// A channel to `address` (`host:port`), which connects at the first call and again whenever
    /// the connection is lost.
    ///
    /// # Errors
    /// When `address` is not a host and a port.
    pub fn connect(address: &str) -> Result<Self, BoxError> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT);
        Ok(Self::over(endpoint.connect_lazy().map_err(BoxError::from)))
    }

    /// A channel over any service that carries gRPC calls.
    pub fn over<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = <Calls as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Channel")
    }
}
