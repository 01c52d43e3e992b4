//! Reading messages by a lab's descriptors, so that faults can be aimed at what they say.

use anyhow::{Context, Result};
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use crate::fault::NOT;

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

    /// Whether some service has `method`.
    pub fn knows(&self, method: &str) -> bool {
        self.methods(method).next().is_some()
    }

    /// The names of all methods.
    pub fn method_names(&self) -> impl Iterator<Item = String> {
        let all = self.0.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        all.map(|method| method.name().to_owned())
    }

    /// Whether requests of `method` have the field `field`: a name, or several with dots between.
    pub fn asks_with(&self, method: &str, field: &str) -> bool {
        self.methods(method).any(|it| has_path(&it.input(), field))
    }

    /// Whether replies of `method` have the field `field`.
    pub fn answers_with(&self, method: &str, field: &str) -> bool {
        self.methods(method).any(|it| has_path(&it.output(), field))
    }

    /// Whether the request to `path` in `frame` has `field` set.
    pub fn request_has(&self, path: &str, frame: &[u8], field: &str) -> bool {
        self.request(path, frame).is_some_and(|request| is_set(&request, field))
    }

    /// Whether the reply to `path` in `frame` has `field` set.
    pub fn reply_has(&self, path: &str, frame: &[u8], field: &str) -> bool {
        self.reply(path, frame).is_some_and(|reply| is_set(&reply, field))
    }

    /// The value of `field` in the request to `path` in `frame`.
    pub fn request_field(&self, path: &str, frame: &[u8], field: &str) -> Option<Value> {
        let request = self.request(path, frame)?;
        request.get_field_by_name(field).map(std::borrow::Cow::into_owned)
    }

    /// The request to `path` in `frame`; `None` when it is not one this lab knows.
    pub fn request(&self, path: &str, frame: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(self.method(path)?.input(), payload(frame)?).ok()
    }

    /// The reply to `path` in `frame`; `None` when it is not one this lab knows.
    pub fn reply(&self, path: &str, frame: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(self.method(path)?.output(), payload(frame)?).ok()
    }

    fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.0.get_service_by_name(service)?;
        service.methods().find(|candidate| candidate.name() == method)
    }

    fn methods(&self, name: &str) -> impl Iterator<Item = MethodDescriptor> {
        let all = self.0.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        all.filter(move |method| method.name() == name)
    }
}

fn has_path(message: &MessageDescriptor, path: &str) -> bool {
    let path = path.strip_prefix(NOT).unwrap_or(path);
    let (field, rest) = path.split_once('.').map_or((path, None), |(it, rest)| (it, Some(rest)));
    let Some(field) = message.get_field_by_name(field) else { return false };
    rest.is_none_or(|rest| match field.kind() {
        Kind::Message(inner) => has_path(&inner, rest),
        _ => false,
    })
}

/// Whether the field at `path` is set; with a `!` before it, whether it is not.
fn is_set(message: &DynamicMessage, path: &str) -> bool {
    if let Some(path) = path.strip_prefix(NOT) {
        return !is_set(message, path);
    }
    let Some((field, rest)) = path.split_once('.') else {
        return message.has_field_by_name(path);
    };
    let inner = message.get_field_by_name(field);
    inner.is_some_and(|inner| inner.as_message().is_some_and(|inner| is_set(inner, rest)))
}

/// The message in an uncompressed gRPC frame.
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    match frame.split_at_checked(FRAME_HEADER)? {
        ([0, ..], payload) => Some(payload),
        _ => None,
    }
}
