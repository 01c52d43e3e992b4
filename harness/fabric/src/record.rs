//! The record of every message: one JSON line each, written to disk by a thread of its own.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    mem,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{decode::Decoder, lines};

/// How many records travel to the writer together.
const BATCH: usize = 128;
/// How many batches may wait for the disk before messages wait for it too: memory stays bounded.
const QUEUE: usize = 64;
/// A longer body is cut in the record, with its length and hash.
const MAX_BODY: usize = 1024 * 1024;

/// One message from one sender to one receiver, from its sending to its end. Times are in
/// microseconds since the start of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Which message; a duplicate has the number of its original.
    pub id: u64,
    /// 0 for the original, from 1 for its duplicates.
    pub copy: u8,
    /// The client or node that sent it.
    pub from: String,
    /// The node it was sent to.
    pub to: String,
    /// `/package.Service/Method`.
    pub path: String,
    /// When it was sent.
    pub sent_us: u64,
    /// When the receiver was given it.
    pub delivered_us: Option<u64>,
    /// When the receiver had answered.
    pub replied_us: Option<u64>,
    /// When the sender was given the answer; never for a duplicate.
    pub answered_us: Option<u64>,
    /// When the sender stopped waiting.
    pub gave_up_us: Option<u64>,
    /// The gRPC status code that the receiver answered with.
    pub code: Option<i32>,
    /// What stopped it, if anything did.
    pub lost: Option<Lost>,
    /// Whether it had to wait for a cut to heal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The request.
    pub request: Body,
    /// The reply.
    pub reply: Option<Body>,
}

/// Why a message or its reply went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// A fault dropped the request.
    RequestDropped,
    /// A fault dropped the reply.
    ReplyDropped,
    /// The link was cut.
    Cut,
    /// A fault refused it.
    Refused,
    /// The receiver could not be reached, or fell before it had answered.
    Unreachable,
}

impl Message {
    /// The message as it was when it was sent.
    pub fn as_sent(self) -> Self {
        let (delivered_us, replied_us, answered_us, gave_up_us) = (None, None, None, None);
        let (code, lost, reply, held) = (None, None, None, false);
        Self { delivered_us, replied_us, answered_us, gave_up_us, code, lost, held, reply, ..self }
    }

    /// Decodes request and reply as far as `decoder` knows them, to be written as JSON.
    pub fn decode(&mut self, decoder: &Decoder) {
        self.request.decoded = decoder.request(&self.path, &self.request.bytes).and_then(to_json);
        if let Some(reply) = &mut self.reply {
            reply.decoded = decoder.reply(&self.path, &reply.bytes).and_then(to_json);
        }
    }

    /// Appends everything about the message to `bytes`, to be hashed.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        let Self { sent_us, delivered_us, replied_us, answered_us, gave_up_us, .. } = self;
        bytes.extend(self.id.to_le_bytes());
        bytes.extend([self.copy, u8::from(self.held), self.lost.map_or(0, |lost| lost as u8 + 1)]);
        bytes.extend(self.code.unwrap_or(-1).to_le_bytes());
        for at_us in [&Some(*sent_us), delivered_us, replied_us, answered_us, gave_up_us] {
            bytes.extend(at_us.unwrap_or(u64::MAX).to_le_bytes());
        }
        for text in [&self.from, &self.to, &self.path] {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        bytes.extend(self.request.bytes());
        bytes.extend(self.reply.iter().flat_map(|reply| reply.bytes()));
    }

    /// The method's name without its service.
    pub fn method(&self) -> &str {
        method_of(&self.path)
    }
}

/// The method's name in `/package.Service/Method`.
pub fn method_of(path: &str) -> &str {
    let slash = path.bytes().rposition(|byte| byte == b'/');
    &path[slash.map_or(0, |slash| slash + 1)..]
}

/// Fields by the names that the `.proto` gives them, numbers as numbers, and zeros written out.
fn to_json(message: DynamicMessage) -> Option<Value> {
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

/// A body as recorded: bytes while the run lasts, afterwards also what they say.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Bytes,
    decoded: Option<Value>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        // Its own copy: a few bytes can be all that is left of a buffer of many.
        Self { bytes: Bytes::copy_from_slice(&bytes), decoded: None }
    }
}

impl Body {
    /// The gRPC frame, unless it was too long to keep or is kept decoded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenBody {
    Frame(String),
    Cut { bytes: usize, blake3: String },
    Decoded(Value),
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = if let Some(decoded) = &self.decoded {
            return decoded.serialize(serializer);
        } else if self.bytes.len() <= MAX_BODY {
            WrittenBody::Frame(BASE64_STANDARD.encode(&self.bytes))
        } else {
            let blake3 = blake3::hash(&self.bytes).to_string();
            WrittenBody::Cut { bytes: self.bytes.len(), blake3 }
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match WrittenBody::deserialize(deserializer)? {
            WrittenBody::Frame(text) => {
                let bytes = BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
                Ok(Bytes::from(bytes).into())
            }
            WrittenBody::Cut { .. } => Ok(Self::default()),
            WrittenBody::Decoded(value) => Ok(Self { decoded: Some(value), ..Self::default() }),
        }
    }
}

/// Takes records from any thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Batches>);

/// Records on their way to the writer, a batch at a time: waking it for each would cost more than
/// all the rest.
#[derive(Debug)]
struct Batches {
    next: Mutex<Vec<Message>>,
    /// Without one, records are kept until they are taken.
    queue: Option<SyncSender<Vec<Message>>>,
}

/// The thread that writes the records.
#[derive(Debug)]
pub struct Writer(JoinHandle<io::Result<()>>);

impl Recorder {
    /// Starts to record into `path`. The file is complete once every clone is gone and
    /// [`Writer::finish`] has returned.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn start(path: &Path) -> Result<(Self, Writer)> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let (queue, batches) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("recorder".into())
            .spawn(move || write_batches(file, &batches))?;
        let batches = Batches { next: Mutex::default(), queue: Some(queue) };
        Ok((Self(Arc::new(batches)), Writer(thread)))
    }

    /// Keeps what it records.
    pub fn in_memory() -> Self {
        Self(Arc::new(Batches { next: Mutex::default(), queue: None }))
    }

    /// Records one message.
    pub fn record(&self, message: Message) {
        let mut next = self.0.next.lock().expect("no holder of this lock panics");
        next.push(message);
        if next.len() >= BATCH && self.0.queue.is_some() {
            self.0.send(mem::replace(&mut next, Vec::with_capacity(BATCH)));
        }
    }

    /// Takes what has been recorded and not been written.
    pub fn take(&self) -> Vec<Message> {
        mem::take(&mut self.0.next.lock().expect("no holder of this lock panics"))
    }
}

impl Batches {
    fn send(&self, batch: Vec<Message>) {
        if let Some(queue) = &self.queue {
            // The writer only goes away when the disk fails, which `finish` reports.
            let _ = queue.send(batch);
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        let last = mem::take(self.next.get_mut().expect("no holder of this lock panics"));
        self.send(last);
    }
}

impl Writer {
    /// Waits until every record is in the file.
    ///
    /// # Errors
    /// When the disk failed, for instance because it is full.
    pub fn finish(self) -> Result<()> {
        let written = self.0.join().expect("the recorder does not panic");
        written.context("cannot write the record of messages")
    }
}

fn write_batches(file: File, batches: &Receiver<Vec<Message>>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    batches.iter().flatten().try_for_each(|message| lines::write_one(&mut out, &message))?;
    out.flush()
}

/// Reads the record in `path`.
///
/// # Errors
/// Names the file and the line that is not what it should be.
pub fn read(path: &Path) -> Result<Vec<Message>> {
    lines::read(path)
}

/// Decodes `messages` as far as `decoder` knows them, and writes them into `path` as a record.
///
/// # Errors
/// When the disk refuses.
pub fn write_decoded(path: &Path, messages: &mut [Message], decoder: &Decoder) -> Result<()> {
    messages.iter_mut().for_each(|message| message.decode(decoder));
    lines::write(path, messages)
}
