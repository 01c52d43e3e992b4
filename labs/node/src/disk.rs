//! What survives a restart: named records in a sled database, written by one thread.

use std::{
    path::Path,
    process,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use prost::Message;
use tokio::sync::oneshot;

/// Named records that survive `kill -9` once [`Disk::save`] has returned; cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    database: sled::Db,
    writes: Sender<Write>,
}

struct Write {
    key: String,
    bytes: Vec<u8>,
    durable: oneshot::Sender<()>,
}

impl Disk {
    /// Opens the records under `data_dir`. Bytes wait for `delay` before they are written, as on
    /// a slow disk.
    ///
    /// # Errors
    /// When the folder cannot be made, or holds something else, or another process has it open.
    pub fn open(data_dir: &Path, delay: Duration) -> anyhow::Result<Self> {
        let database = sled::Config::new()
            .path(data_dir)
            .cache_capacity(16 << 20)
            .flush_every_ms(None)
            .open()
            .with_context(|| format!("cannot open the data directory {}", data_dir.display()))?;
        let (writes, queue) = channel();
        let writer = database.clone();
        thread::Builder::new()
            .name("disk".into())
            .spawn(move || write_batches(&writer, &queue, delay))
            .context("cannot start the disk's thread")?;
        Ok(Self { database, writes })
    }

    /// Writes `record` under `key` and returns when it is durable. A disk that fails stops the
    /// node: a node that cannot remember must not answer. Records are written in the order in
    /// which they were saved.
    pub async fn save(&self, key: &str, record: &impl Message) {
        let (durable, done) = oneshot::channel();
        let write = Write { key: key.to_owned(), bytes: record.encode_to_vec(), durable };
        if self.writes.send(write).is_err() || done.await.is_err() {
            stop("its thread is gone");
        }
    }

    /// The durable record under `key`, if there is one.
    pub fn load<M: Message + Default>(&self, key: &str) -> Option<M> {
        match self.database.get(key) {
            Ok(bytes) => bytes.map(|bytes| decode(key, &bytes)),
            Err(error) => stop(&error.to_string()),
        }
    }

    /// Every durable record whose key starts with `prefix`, as (rest of the key, record).
    pub fn load_all<M: Message + Default>(&self, prefix: &str) -> Vec<(String, M)> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, bytes) = entry.unwrap_or_else(|error| stop(&error.to_string()));
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            let record = decode(&name, &bytes);
            (name, record)
        };
        self.database.scan_prefix(prefix).map(read).collect()
    }
}

fn decode<M: Message + Default>(key: &str, bytes: &[u8]) -> M {
    M::decode(bytes).unwrap_or_else(|error| stop(&format!("record {key} is damaged: {error}")))
}

/// Takes whatever has queued up, makes it durable in one go, and says so.
fn write_batches(database: &sled::Db, queue: &Receiver<Write>, delay: Duration) {
    while let Ok(first) = queue.recv() {
        let mut waiting = vec![first];
        thread::sleep(delay);
        waiting.extend(queue.try_iter());
        let mut batch = sled::Batch::default();
        for write in &mut waiting {
            batch.insert(write.key.as_bytes(), std::mem::take(&mut write.bytes));
        }
        if let Err(error) = database.apply_batch(batch).and_then(|()| database.flush()) {
            stop(&error.to_string());
        }
        for write in waiting {
            // A caller that has gone away no longer needs to know.
            let _ = write.durable.send(());
        }
    }
}

fn stop(why: &str) -> ! {
    eprintln!("the disk failed and the node stops: {why}");
    process::exit(1)
}
