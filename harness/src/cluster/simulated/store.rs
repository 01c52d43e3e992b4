//! What a simulated node keeps from one start to the next.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use node::{Memory, Store};
use serde::{Deserialize, Serialize};

use crate::cluster::limits::folder_bytes;

/// What simulated nodes keep their records in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// Memory: what was not saved in time is gone after a crash. The fastest.
    #[default]
    Memory,
    /// sled, in files, as in a node that is a process
    Sled,
}

/// The records of one node.
pub struct Records(Place);

enum Place {
    Memory(Memory),
    /// In the folder of the newest start.
    Sled {
        folder: PathBuf,
        starts: u32,
    },
}

impl Records {
    /// No records yet; those in files will be in `folder`, which an earlier run may have used.
    pub fn new(kind: DiskKind, folder: PathBuf) -> Self {
        if kind == DiskKind::Sled {
            // There need not be one.
            let _ = fs::remove_dir_all(&folder);
        }
        Self(match kind {
            DiskKind::Memory => Place::Memory(Memory::default()),
            DiskKind::Sled => Place::Sled { folder, starts: 0 },
        })
    }

    /// Where the node finds them when it starts.
    pub fn store(&self) -> Store {
        match &self.0 {
            Place::Memory(memory) => Store::Memory(memory.clone()),
            Place::Sled { folder, starts } => Store::Sled(folder.join(starts.to_string())),
        }
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Place::Memory(memory) => memory.bytes(),
            Place::Sled { folder, starts } => folder_bytes(&folder.join(starts.to_string())),
        }
    }

    /// The node is about to crash. What sled writes while it is dropped must not survive, so the
    /// next start finds the files as they are now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn crash(&mut self) -> Result<()> {
        let Place::Sled { folder, starts } = &mut self.0 else { return Ok(()) };
        let now = folder.join(starts.to_string());
        *starts += 1;
        copy(&now, &folder.join(starts.to_string())).context("cannot copy the files of a node")
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        // It fell before it had written anything.
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
