//! The services of all labs: messages, clients and servers, made from one `.proto` a lab.
//!
//! A module a lab, with the lab's name and what `proto/LAB.proto` says. `proto/generate`
//! makes them, and they are committed: nobody who takes a lab has to build a compiler of protocols.

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; documented in the .proto"
)]
mod generated;

pub use generated::*;
