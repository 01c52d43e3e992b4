//! Reading messages by a lab's descriptors, so that faults can be aimed at what they say.

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, DynamicMessage};

/// Knows the messages of one lab.
#[derive(Clone, Debug)]
pub struct Decoder(DescriptorPool);

/// A gRPC frame starts with a flag for compression and four bytes of length.
const FRAME_HEADER: usize = 5;

impl Decoder {
    /// A decoder for the services described by an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When the bytes are no such set.
    pub fn new(descriptors: &[u8]) -> Result<Self> {
        DescriptorPool::decode(descriptors).map(Self).context("the lab's descriptors are damaged")
    }

    /// Whether some service has `method`, with a reply that has the field `reply`.
    pub fn knows(&self, method: &str, reply: Option<&str>) -> bool {
        let mut methods =
            self.0.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        methods.any(|candidate| {
            candidate.name() == method
                && reply.is_none_or(|field| candidate.output().get_field_by_name(field).is_some())
        })
    }

    /// The reply to `path` in `frame`; `None` when it is not one this lab knows.
    pub fn reply(&self, path: &str, frame: &[u8]) -> Option<DynamicMessage> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.0.get_service_by_name(service)?;
        let method = service.methods().find(|candidate| candidate.name() == method)?;
        DynamicMessage::decode(method.output(), payload(frame)?).ok()
    }
}

/// The message in an uncompressed gRPC frame.
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    match frame.split_at_checked(FRAME_HEADER)? {
        ([0, ..], payload) => Some(payload),
        _ => None,
    }
}
