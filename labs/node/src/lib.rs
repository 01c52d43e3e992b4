//! What every node of every lab needs, and all that a lab sees of the world outside its protocol.
//!
//! A lab is one async function from a [`Context`] to the gRPC services it offers; its `main.rs`
//! hands that function to [`main`]. Everything a node does with the world goes through this crate,
//! so that the harness can run the same lab on real processes and in a simulation.

mod channel;
mod clock;
mod disk;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod log;
mod peers;
mod serve;
mod services;
mod settings;

pub use channel::{BoxError, Channel};
pub use clock::Clock;
pub use disk::{Change, Disk, Memory, Store};
pub use peers::{Answers, Peers};
pub use serve::main;
pub use services::{Answer, Services};
pub use settings::{LogFormat, PeerAddress, Settings};

use std::future::Future;

/// One start of one node, as a lab sees it.
#[derive(Debug)]
pub struct Context {
    /// This node's name, unique in its cluster.
    pub id: String,
    /// The other members: name and channel.
    pub peers: Vec<(String, Channel)>,
    /// What survives a restart.
    pub disk: Disk,
    /// This start's own idea of the time.
    pub clock: Clock,
}

/// Runs `task` beside the caller until it ends or the node does.
///
/// Labs use this and never `tokio::spawn`: a simulation must know whose task it is.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let task: host::Task = Box::pin(task);
    match host::current() {
        Some(host) => host.spawn(task),
        None => drop(tokio::spawn(task)),
    }
}

/// The fingerprint of the sources that the calling crate was built from, set by the harness; `by
/// hand` in a build that the harness did not make. The harness refuses to run a program that does
/// not hold the fingerprint it asked for.
#[macro_export]
macro_rules! build_fingerprint {
    () => {
        match option_env!("FAULTLINE_BUILD") {
            Some(fingerprint) => fingerprint,
            None => "by hand",
        }
    };
}
