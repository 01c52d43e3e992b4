//! What the machine must offer before anything is built: each check says in one sentence what to
//! do.

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::cluster::{
    limits::{MIB, ONE_FILE},
    proc,
    scratch::{self, free_bytes},
};

/// What the compiler takes for the largest crate; a node may have less.
const MEMORY: u64 = 1536 * MIB;
/// What the fabric opens for as many clusters as run side by side, twice over.
const OPEN_FILES: u64 = 1024;
/// Threads of the compiler, of nodes and of the harness.
const THREADS: u64 = 128;
/// How long the loopback interface may take.
const LOOPBACK: Duration = Duration::from_secs(1);

/// What is needed to build something and to run it.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Where it is built.
    pub target: PathBuf,
    /// What that may write there.
    pub build_bytes: u64,
    /// Whether nodes are to reach each other by TCP.
    pub loopback: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is.
    pub what: &'static str,
    /// What there is; where that is not enough, a sentence on what to do.
    pub found: Result<String, String>,
}

/// Sees that the machine has what is needed.
///
/// # Errors
/// When it has not: the first reason, and what to do.
pub fn check(needs: &Needs) -> Result<()> {
    match checks(needs).into_iter().find_map(|check| check.found.err()) {
        Some(reason) => bail!("the harness failed, not the lab: {reason}"),
        None => Ok(()),
    }
}

/// Looks at everything. Of limits that may be raised, it takes what is needed.
pub fn checks(needs: &Needs) -> Vec<Check> {
    use Resource::{RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE};
    let checks = [
        ("disk", disk(needs)),
        ("files", limit(RLIMIT_FSIZE, ONE_FILE, MIB, "MiB in a file are allowed (ulimit -f)")),
        ("memory", limit(RLIMIT_DATA, MEMORY, MIB, "MiB of memory are allowed (ulimit -d)")),
        ("addresses", limit(RLIMIT_AS, MEMORY, MIB, "MiB of addresses are allowed (ulimit -v)")),
        ("open files", limit(RLIMIT_NOFILE, OPEN_FILES, 1, "open files are allowed (ulimit -n)")),
        ("threads", threads()),
        ("loopback", loopback(needs)),
        ("data of nodes", data_of_nodes()),
    ];
    checks.map(|(what, found)| Check { what, found }).into()
}

fn disk(needs: &Needs) -> Result<String, String> {
    let target = needs.target.display();
    let there = needs.target.ancestors().find(|folder| folder.exists());
    let Some(free) = there.and_then(free_bytes) else { return Ok("not known".to_owned()) };
    let [free, need] = [free, needs.build_bytes].map(|bytes| bytes / MIB);
    match free >= need {
        true => Ok(format!("{free} MiB free for {target}")),
        false => {
            Err(format!("{target} has {free} MiB free, and a build may take {need}: free some"))
        }
    }
}

/// Sees that a limit is no lower than `need`; `what` says what is counted, in `unit`s.
fn limit(resource: Resource, need: u64, unit: u64, what: &str) -> Result<String, String> {
    let (soft, hard) = getrlimit(resource).map_err(|error| error.to_string())?;
    // Whoever asks for more jobs needs more.
    let raised = hard.min(4 * need);
    let is_raised = soft < raised && setrlimit(resource, raised, hard).is_ok();
    match if is_raised { raised } else { soft } {
        RLIM_INFINITY => Ok("no limit".to_owned()),
        has if has >= need => Ok(format!("{} {what}", has / unit)),
        has => {
            let [has, need] = [has, need].map(|it| it / unit);
            Err(format!("only {has} {what}, and {need} are needed: raise that limit"))
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn threads() -> Result<String, String> {
    Ok("not known".to_owned())
}

/// Threads count with all others of the same user.
#[cfg(target_os = "linux")]
fn threads() -> Result<String, String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NPROC).map_err(|error| error.to_string())?;
    let owner = |folder: &Path| fs::metadata(folder).map(|of| of.uid()).ok();
    let user = owner(Path::new("/proc/self"));
    if limit == RLIM_INFINITY {
        return Ok("no limit".to_owned());
    }
    let threads = |process: proc::Process| {
        let folder = Path::new("/proc").join(process.pid.to_string());
        let tasks = || fs::read_dir(folder.join("task")).map_or(0, |tasks| tasks.count() as u64);
        if owner(&folder) == user { tasks() } else { 0 }
    };
    let free = limit.saturating_sub(proc::processes().into_iter().map(threads).sum());
    match free >= THREADS {
        true => Ok(format!("{free} more are allowed (ulimit -u)")),
        false => Err(format!(
            "only {free} more threads are allowed (ulimit -u), and {THREADS} are needed: raise \
             that limit"
        )),
    }
}

fn loopback(needs: &Needs) -> Result<String, String> {
    if !needs.loopback {
        return Ok("not needed".to_owned());
    }
    let connect = || -> io::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        TcpStream::connect_timeout(&listener.local_addr()?, LOOPBACK).map(drop)
    };
    match connect() {
        Ok(()) => Ok("127.0.0.1 answers".to_owned()),
        Err(error) => Err(format!(
            "nothing can connect to 127.0.0.1 ({error}): bring the loopback interface up, as with \
             ip link set lo up"
        )),
    }
}

fn data_of_nodes() -> Result<String, String> {
    let place = scratch::place().map_err(|error| error.to_string())?;
    Ok(format!("in {}", place.display()))
}
