//! What a node may use of the machine. One that wants more is stopped before others feel it.
//!
//! Two nets. The operating system itself stops what would hurt at once (a huge file, a huge heap).
//! The rest is looked at a few times a second, because no limit of the system fits: the one on
//! processes counts all of the user's, the one on address space stops Go and Node.js at birth.

use std::{fs, io, path::Path, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::proc::Process;

/// How often all that a node uses is looked at; its own memory, at every look at the node.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

pub const MIB: u64 = 1 << 20;
/// Resident memory of a node and all that it has started.
pub const MEMORY: u64 = 1024 * MIB;
/// Processes that a node has started, itself included.
const PROCESSES: usize = 64;
/// Everything in the data directory.
const DATA: u64 = 512 * MIB;
/// What a node prints in one run.
pub const LOG: u64 = 16 * MIB;
/// Enforced by the system: any one file, and private memory.
pub const ONE_FILE: u64 = 512 * MIB;
const PRIVATE_MEMORY: u64 = 4096 * MIB;

/// Imposes what the system enforces on the calling process, or what is enforced already where that
/// is less: nobody may raise it. Called between fork and exec.
///
/// # Errors
/// When the system refuses.
pub fn impose() -> io::Result<()> {
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, ONE_FILE),
        (Resource::RLIMIT_DATA, PRIVATE_MEMORY),
    ] {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, most.min(hard), most.min(hard))?;
    }
    Ok(())
}

/// What to say of a node that the system refused more memory.
pub fn refused_memory() -> String {
    format!("used more than {} MiB of memory and was stopped", PRIVATE_MEMORY / MIB)
}

/// What the node `pid` has used too much of, as the rest of a sentence that starts with its name.
/// Its process group is its own.
pub fn exceeded(pid: u32, all: &[Process], data_dir: &Path, log: &Path) -> Option<String> {
    let group = || all.iter().filter(|process| process.group == pid);
    let memory = group().map(|process| process.resident_bytes).sum::<u64>();
    let used = [
        (memory, MEMORY, "used", "of memory"),
        (folder_bytes(data_dir), DATA, "kept", "in its data directory"),
        (fs::metadata(log).map_or(0, |log| log.len()), LOG, "wrote", "to its log"),
    ];
    if group().count() > PROCESSES {
        return Some(format!("started more than {PROCESSES} processes and was stopped"));
    }
    let (_, limit, verb, what) = used.into_iter().find(|(used, limit, ..)| used > limit)?;
    Some(format!("{verb} more than {} MiB {what} and was stopped", limit / MIB))
}

/// What the files in `folder` and below take.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { folder_bytes(&entry.path()) } else { metadata.len() })
    });
    bytes.sum()
}
