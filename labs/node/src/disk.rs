//! What survives a restart: named records, written by one writer, in order.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    io,
    path::{Path, PathBuf},
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
    /// And the file to sync after each write, if a power cut is to lose nothing.
    Sled(sled::Db, Option<Arc<File>>),
    Memory(Memory),
}

/// Where a simulated node keeps its records.
#[derive(Clone, Debug)]
pub enum Store {
    /// In memory.
    Memory(Memory),
    /// In this folder, as a node that is a process does. Whoever crashes the node must go on with a
    /// copy that was made before: sled writes what it still has when it is dropped.
    Sled(PathBuf),
}

/// The durable records of a simulated disk, which outlive the node that writes them; cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

/// One record that is written or removed.
#[derive(Debug)]
pub struct Change {
    key: String,
    /// `None` removes it.
    bytes: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Write {
    changes: Vec<Change>,
    durable: oneshot::Sender<()>,
}

impl Change {
    /// `record` will be under `key`.
    pub fn put(key: &str, record: &impl Message) -> Self {
        Self { key: key.to_owned(), bytes: Some(record.encode_to_vec()) }
    }

    /// Nothing will be under `key`.
    pub fn remove(key: &str) -> Self {
        Self { key: key.to_owned(), bytes: None }
    }
}

impl Disk {
    /// Opens the records under `data_dir`, written by a thread of their own. Bytes wait for `delay`
    /// before they are written, as on a slow disk. Written bytes survive `kill -9`; if the disk
    /// `syncs`, they survive a power cut as well: sled itself starts their way to the device and
    /// waits for it, but empties no cache of the device (`sync_file_range`).
    ///
    /// # Errors
    /// When the folder cannot be made, or holds something else, or another process has it open.
    pub fn open(data_dir: &Path, delay: Duration, syncs: bool) -> anyhow::Result<Self> {
        let records = Records::sled(data_dir, syncs)?;
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
    /// and what it has not written is lost with it.
    ///
    /// # Errors
    /// When the store is in files that cannot be opened.
    pub fn simulated(store: Store, delay: Duration) -> anyhow::Result<Self> {
        let records = match store {
            Store::Memory(memory) => Records::Memory(memory),
            Store::Sled(data_dir) => Records::sled(&data_dir, false)?,
        };
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
        Ok(Self { records, writes })
    }

    /// Writes `record` under `key` and returns when it is durable. A disk that fails stops the
    /// node: a node that cannot remember must not answer. Records are written in the order in
    /// which they were saved.
    pub async fn save(&self, key: &str, record: &impl Message) {
        self.write(vec![Change::put(key, record)]).await;
    }

    /// Makes all of `changes` at once, or none of them: a crash finds no half of it. The order is
    /// that of the calls; what is returned ends when they are durable.
    pub fn write(&self, changes: Vec<Change>) -> impl Future<Output = ()> + use<> {
        let (durable, done) = oneshot::channel();
        let is_taken = self.writes.send(Write { changes, durable }).is_ok();
        async move {
            if !is_taken || done.await.is_err() {
                stop("its writer is gone");
            }
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
    fn sled(data_dir: &Path, syncs: bool) -> anyhow::Result<Self> {
        let config = sled::Config::new().path(data_dir);
        let config = config.cache_capacity(16 << 20).flush_every_ms(None);
        let database = remove_unfinished(data_dir)
            .map_err(sled::Error::from)
            .and_then(|()| config.open())
            .with_context(|| format!("cannot open the data directory {}", data_dir.display()))?;
        let file = || File::open(data_dir.join("db")).context("sled keeps its records elsewhere");
        Ok(Self::Sled(database, syncs.then(file).transpose()?.map(Arc::new)))
    }

    /// Makes `first`, and whatever has queued up behind it, durable in one go, and says so.
    fn write(&self, first: Write, queue: &mut mpsc::UnboundedReceiver<Write>) {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let changes = waiting.iter_mut().flat_map(|write| std::mem::take(&mut write.changes));
        match self {
            Self::Memory(memory) => {
                let mut records = memory.lock();
                for Change { key, bytes } in changes {
                    match bytes {
                        Some(bytes) => records.insert(key, bytes),
                        None => records.remove(&key),
                    };
                }
            }
            Self::Sled(database, file) => {
                let mut batch = sled::Batch::default();
                for Change { key, bytes } in changes {
                    match bytes {
                        Some(bytes) => batch.insert(key.as_bytes(), bytes),
                        None => batch.remove(key.as_bytes()),
                    }
                }
                let written = database.apply_batch(batch).and_then(|()| database.flush());
                let synced =
                    written.and_then(|_| Ok(file.iter().try_for_each(|it| it.sync_data())?));
                synced.unwrap_or_else(|error| stop(&error.to_string()));
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
            Self::Sled(database, _) => match database.get(key) {
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
            Self::Sled(database, _) => {
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
    /// How many bytes the records and their keys have.
    pub fn bytes(&self) -> u64 {
        self.lock().iter().map(|(key, bytes)| (key.len() + bytes.len()) as u64).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Removes what is left of a start that a crash ended while sled wrote a snapshot of its log: it
/// would take that for one, and refuse to open (sled 0.34, its issue 1527). All of it is in the
/// log.
fn remove_unfinished(data_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn decode<M: Message + Default>(key: &str, bytes: &[u8]) -> M {
    M::decode(bytes).unwrap_or_else(|error| stop(&format!("record {key} is damaged: {error}")))
}

/// A panic ends a node in every engine, and is reported by name.
fn stop(why: &str) -> ! {
    panic!("the disk failed and the node stops: {why}")
}
