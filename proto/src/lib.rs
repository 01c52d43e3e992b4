//! The services of all labs: messages, clients and servers generated from one `.proto` a lab.

/// Lab 1, the distributed lock: see `proto/lock.proto`.
pub mod lock {
    #![allow(missing_docs, clippy::all, reason = "generated from lock.proto, documented there")]
    tonic::include_proto!("faultline.lock.v1");

    /// The lab's services described for reflection and for decoding recorded messages
    /// (an encoded `google.protobuf.FileDescriptorSet`).
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lock.bin"));
}

/// Lab 3, the replicated key-value store: see `proto/kv.proto`.
pub mod kv {
    #![allow(missing_docs, clippy::all, reason = "generated from kv.proto, documented there")]
    tonic::include_proto!("faultline.kv.v1");

    /// As for the other labs.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.bin"));
}
