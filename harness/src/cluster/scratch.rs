//! The nodes' data folders, and the fence that keeps each node inside its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use super::{
    limits::{MIB, folder_bytes},
    warden::Warden,
};

/// What the nodes of all runs side by side are sure to find room for: 17 MiB for each of kv's.
const ROOM: u64 = 256 * MIB;
/// Where less is left, nothing can be written any more.
const NOTHING: u64 = MIB;

/// The data folders of one run: on tmpfs where there is one with room, since kill -9 keeps the page
/// cache anyway and the noise of a disk's fsync would only blur what is measured.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder, which goes when this is dropped, or else when the warden goes.
    ///
    /// # Errors
    /// When there is no place for one.
    pub fn new(warden: &Warden) -> Result<Self> {
        let folder = make()?;
        warden.watch_folder(folder.path());
        Ok(Self(folder))
    }

    /// Whether no room is left, and these nodes have not taken it.
    pub fn is_full(&self) -> bool {
        is_full(self.path()) && folder_bytes(self.path()) < ROOM
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes the data folder of `node`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn data_dir(&self, node: &str) -> Result<PathBuf> {
        let dir = self.0.path().join(node);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }
}

/// Where the data folders of a run would lie now.
///
/// # Errors
/// When there is no place for them.
pub fn place() -> Result<PathBuf> {
    let folder = make()?;
    Ok(folder.path().parent().context("a folder lies in another")?.to_owned())
}

fn make() -> Result<TempDir> {
    let places = [PathBuf::from("/dev/shm"), env::temp_dir()];
    let has_room = |place: &&PathBuf| free_bytes(place).is_some_and(|free| free >= ROOM);
    let make = |place| tempfile::Builder::new().prefix("faultline-").tempdir_in(place).ok();
    places.iter().filter(has_room).find_map(make).with_context(|| {
        let [first, second] = places.each_ref().map(|place| place.display());
        format!(
            "neither {first} nor {second} has {} MiB of room for what nodes write: free some, or \
             name another folder in TMPDIR",
            ROOM / MIB
        )
    })
}

/// Whether no room is left where `folder` lies.
pub fn is_full(folder: &Path) -> bool {
    free_bytes(folder).is_some_and(|free| free < NOTHING)
}

/// How much room is left where `folder` lies, if that is known.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let room = statvfs(folder).ok()?;
    // Some file systems do not count their files.
    let takes_files = room.files() == 0 || room.files_available() > 0;
    #[allow(clippy::unnecessary_cast, reason = "not everywhere of the same width")]
    let bytes = room.blocks_available() as u64 * room.fragment_size() as u64;
    Some(if takes_files { bytes } else { 0 })
}

/// What a node may do with files and with other processes.
#[cfg(target_os = "linux")]
pub mod fence {
    use std::{fs, path::Path};

    use landlock::{
        ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
        RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
    };

    /// What Landlock can do since Linux 6.12; an older kernel does what it can.
    const LANDLOCK: ABI = ABI::V6;
    /// What every program may write to.
    const DEVICES: [&str; 6] =
        ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

    /// A node may write only under `data_dir`, read everything but what lies beside it or beside
    /// the folder that holds it (other nodes, other runs), and signal only what it has started.
    ///
    /// # Errors
    /// When the kernel has Landlock and refuses.
    pub fn around(data_dir: &Path, program: &Path) -> Result<RulesetCreated, RulesetError> {
        let (all, read) = (AccessFs::from_all(LANDLOCK), AccessFs::from_read(LANDLOCK));
        let to_files = AccessFs::from_file(LANDLOCK);
        let fence = Ruleset::default().handle_access(all)?.scope(Scope::Signal)?.create()?;
        let fence = fence
            .add_rules(path_beneath_rules(readable(data_dir), read))?
            .add_rules(path_beneath_rules([program], read))?
            .add_rules(path_beneath_rules(DEVICES, to_files))?;
        match PathFd::new(data_dir) {
            Ok(dir) => fence.add_rule(PathBeneath::new(dir, all)),
            // It will fail to start, and say so itself.
            Err(_) => Ok(fence),
        }
    }

    /// Everything but the way to `data_dir`: rules only ever add, so its neighbours are left out by
    /// naming all others. The last two steps of the way are the run's folder and the node's.
    fn readable(data_dir: &Path) -> Vec<std::path::PathBuf> {
        let way: Vec<_> = data_dir.ancestors().skip(2).collect();
        let siblings = |pair: &[&Path]| {
            let (below, above) = (pair[0].to_owned(), pair[1]);
            let entries = fs::read_dir(above).into_iter().flatten().flatten();
            // What a link leads to has a rule of its own, or none.
            let real = entries.filter(|it| it.file_type().is_ok_and(|kind| !kind.is_symlink()));
            real.map(|entry| entry.path()).filter(move |path| *path != below)
        };
        way.windows(2).flat_map(siblings).collect()
    }
}
