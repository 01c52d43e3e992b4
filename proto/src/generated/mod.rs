//! A module a lab.

pub mod kv {
    include!("faultline.kv.v1.rs");

    pub const DESCRIPTORS: &[u8] = include_bytes!("kv.bin");
}

pub mod lock {
    include!("faultline.lock.v1.rs");

    pub const DESCRIPTORS: &[u8] = include_bytes!("lock.bin");
}
