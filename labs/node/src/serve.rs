//! A node's life: read the settings, open the disk, serve, and stop on SIGTERM.

use std::{env, future::Future, panic, process, process::ExitCode};

use anyhow::{Context as _, Result};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tonic::transport::{Server, server::TcpIncoming};

use crate::{Channel, Clock, Context, Disk, Services, Settings, log};

// hyper's own limits (200 streams, 20 resets) would queue a stampede and answer a wave of
// timeouts with GOAWAY: faults of the transport, not of the lab.
const MAX_STREAMS: u32 = 100_000;
const MAX_PENDING_RESETS: usize = 10_000;

/// Runs `lab` as one node until SIGTERM. `descriptors` describes its services for reflection (an
/// encoded `FileDescriptorSet`); `fingerprint` is the lab's [`crate::build_fingerprint`].
pub fn main<L, F>(lab: L, descriptors: &'static [u8], fingerprint: &'static str) -> ExitCode
where
    L: FnOnce(Context) -> F,
    F: Future<Output = Services>,
{
    stop_on_panic();
    match run(lab, descriptors, fingerprint) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the node stops: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A handler that panics would only reset its own stream; a node with a bug should be seen to fall.
fn stop_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        process::exit(101);
    }));
}

fn run<L, F>(lab: L, descriptors: &'static [u8], fingerprint: &'static str) -> Result<()>
where
    L: FnOnce(Context) -> F,
    F: Future<Output = Services>,
{
    // Of the variables that are not UTF-8 none is ours.
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = Settings::read(variables)?;
    log::start(settings.log_format);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let context = open(&settings)?;
        let services = lab(context).await;
        tracing::info!(node = settings.id, start = settings.start, fingerprint, "serving");
        serve(services, &settings.listen, descriptors).await
    })
}

fn open(settings: &Settings) -> Result<Context> {
    let connect = |peer: &crate::PeerAddress| match Channel::connect(&peer.address) {
        Ok(channel) => Ok((peer.id.clone(), channel)),
        Err(error) => anyhow::bail!("PEERS names {} at {}: {error}", peer.id, peer.address),
    };
    Ok(Context {
        id: settings.id.clone(),
        peers: settings.peers.iter().map(connect).collect::<Result<_>>()?,
        disk: Disk::open(&settings.data_dir, settings.disk_delay, settings.disk_sync)?,
        clock: Clock::new(settings.seed, &settings.id, settings.start),
    })
}

async fn serve(services: Services, listen: &str, descriptors: &'static [u8]) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; is something else using it?"))?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let damaged = "the lab's descriptors are damaged";
    // Many command-line clients still ask for the older version.
    let reflection_v1 = reflection().build_v1().context(damaged)?;
    let reflection_v1alpha = reflection().build_v1alpha().context(damaged)?;
    let mut terminate = signal(SignalKind::terminate())?;
    Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .add_routes(
            services
                .into_routes()
                .add_service(health_service)
                .add_service(reflection_v1)
                .add_service(reflection_v1alpha),
        )
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                terminate.recv().await;
            },
        )
        .await
        .context("the server failed")
}
