//! What survives a restart: named records, written by one writer, in order.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

/// Named records that survive `kill -9` once [`Disk::save`] has returned; cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    records: Records,
    writes: mpsc::UnboundedSender<Write>,
}

/// What is durable.
#[derive(Clone, Debug)]
enum Records {
    Sled(sled::Db),
    Memory(Memory),
}

/// The durable records of a simulated disk, which outlive the node that writes them; cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

#[derive(Debug)]
struct Write {
    key: String,
    bytes: Vec<u8>,
    durable: oneshot::Sender<()>,
}

impl Disk {
    /// Opens the records under `data_dir`, written by a thread of their own. Bytes wait for `delay`
    /// before they are written, as on a slow disk.
    ///
    /// # Errors
    /// When the folder cannot be made, or holds something else, or another process has it open.
    pub fn open(data_dir: &Path, delay: Duration) -> anyhow::Result<Self> {
        let records = Records::sled(data_dir)?;
        let (writes, mut queue) = mpsc::unbounded_channel();
        let writer = records.clone();
        thread::Builder::new()
            .name("disk".into())
            .spawn(move || {
                while let Some(first) = queue.blocking_recv() {
                    thread::sleep(delay);
                    writer.write(first, &mut queue);
                }
            })
            .context("cannot start the disk's thread")?;
        Ok(Self { records, writes })
    }

    /// The same for a node that shares its thread with others: the writer is a task of the node,
    /// and what it has not written is lost with it. The records are in `memory`.
    pub fn in_memory(memory: Memory, delay: Duration) -> Self {
        let records = Records::Memory(memory);
        let (writes, mut queue) = mpsc::unbounded_channel();
        let writer = records.clone();
        crate::spawn(async move {
            while let Some(first) = queue.recv().await {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                writer.write(first, &mut queue);
            }
        });
        Self { records, writes }
    }

    /// Writes `record` under `key` and returns when it is durable. A disk that fails stops the
    /// node: a node that cannot remember must not answer. Records are written in the order in
    /// which they were saved.
    pub async fn save(&self, key: &str, record: &impl Message) {
        let (durable, done) = oneshot::channel();
        let write = Write { key: key.to_owned(), bytes: record.encode_to_vec(), durable };
        if self.writes.send(write).is_err() || done.await.is_err() {
            stop("its writer is gone");
        }
    }

    /// The durable record under `key`, if there is one.
    pub fn load<M: Message + Default>(&self, key: &str) -> Option<M> {
        self.records.get(key).map(|bytes| decode(key, &bytes))
    }

    /// Every durable record whose key starts with `prefix`, as (rest of the key, record).
    pub fn load_all<M: Message + Default>(&self, prefix: &str) -> Vec<(String, M)> {
        let read = |(key, bytes): (String, Vec<u8>)| {
            let record = decode(&key, &bytes);
            (key[prefix.len()..].to_owned(), record)
        };
        self.records.with_prefix(prefix).into_iter().map(read).collect()
    }
}

impl Records {
    fn sled(data_dir: &Path) -> anyhow::Result<Self> {
        let database = sled::Config::new()
            .path(data_dir)
            .cache_capacity(16 << 20)
            .flush_every_ms(None)
            .open()
            .with_context(|| format!("cannot open the data directory {}", data_dir.display()))?;
        Ok(Self::Sled(database))
    }

    /// Makes `first`, and whatever has queued up behind it, durable in one go, and says so.
    fn write(&self, first: Write, queue: &mut mpsc::UnboundedReceiver<Write>) {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let mut batch = BTreeMap::new();
        for write in &mut waiting {
            batch.insert(write.key.clone(), std::mem::take(&mut write.bytes));
        }
        match self {
            Self::Memory(memory) => memory.lock().append(&mut batch),
            Self::Sled(database) => {
                let mut sled_batch = sled::Batch::default();
                batch.into_iter().for_each(|(key, bytes)| sled_batch.insert(key.as_bytes(), bytes));
                let written = database.apply_batch(sled_batch).and_then(|()| database.flush());
                written.map(drop).unwrap_or_else(|error| stop(&error.to_string()));
            }
        }
        for write in waiting {
            // A caller that has gone away no longer needs to know.
            let _ = write.durable.send(());
        }
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            Self::Memory(memory) => memory.lock().get(key).cloned(),
            Self::Sled(database) => match database.get(key) {
                Ok(bytes) => bytes.map(|bytes| bytes.to_vec()),
                Err(error) => stop(&error.to_string()),
            },
        }
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::Memory(memory) => {
                let records = memory.lock();
                let rest = records.range(prefix.to_owned()..);
                let found = rest.take_while(|(key, _)| key.starts_with(prefix));
                found.map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
            }
            Self::Sled(database) => {
                let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| match entry {
                    Ok((key, bytes)) => {
                        (String::from_utf8_lossy(&key).into_owned(), bytes.to_vec())
                    }
                    Err(error) => stop(&error.to_string()),
                };
                database.scan_prefix(prefix).map(read).collect()
            }
        }
    }
}

impl Memory {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn decode<M: Message + Default>(key: &str, bytes: &[u8]) -> M {
    M::decode(bytes).unwrap_or_else(|error| stop(&format!("record {key} is damaged: {error}")))
}

/// A panic ends a node in every engine, and is reported by name.
fn stop(why: &str) -> ! {
    panic!("the disk failed and the node stops: {why}")
}
