//! The warden: a process that outlives the harness by a moment and clears up after it.
//!
//! The harness may end in any way, `kill -9` included. The warden holds one end of a pipe; when the
//! other end closes, it kills the process groups and removes the folders that are still on its
//! list, and ends.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// The hidden verb under which the `lab` program is its own warden.
pub const VERB: &str = "warden";

/// The harness's end of the pipe; cheap to clone.
#[derive(Clone, Debug)]
pub struct Warden(Arc<Mutex<Pipe>>);

#[derive(Debug)]
struct Pipe {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Warden {
    /// Starts a warden: this very program with the verb [`VERB`].
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start() -> Result<Self> {
        let program = env::current_exe().context("cannot find the program of the harness")?;
        // A group of its own, so that Ctrl-C in the terminal does not reach it.
        let mut child = Command::new(program)
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the warden, which clears up if the harness is killed")?;
        let stdin = child.stdin.take();
        Ok(Self(Arc::new(Mutex::new(Pipe { child, stdin }))))
    }

    /// Kills the process group of `pid` if the harness ends before it was forgotten.
    pub fn watch_group(&self, pid: u32) {
        self.tell(&format!("+group {pid}"));
    }

    /// The process group of `pid` is gone.
    pub fn forget_group(&self, pid: u32) {
        self.tell(&format!("-group {pid}"));
    }

    /// Removes `folder` when the harness ends.
    pub fn watch_folder(&self, folder: &Path) {
        self.tell(&format!("+folder {}", folder.display()));
    }

    fn tell(&self, line: &str) {
        let mut pipe = self.0.lock().expect("no holder of this lock panics");
        let stdin = pipe.stdin.as_mut().expect("open until the last clone is dropped");
        // A warden that somebody killed cannot help; the harness still clears up by itself.
        let _ = writeln!(stdin, "{line}");
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the warden does: listens on standard input until it closes, then clears up.
pub fn run() {
    let (mut groups, mut folders) = (BTreeSet::new(), Vec::new());
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("+group", pid)) => drop(groups.insert(pid.to_owned())),
            Some(("-group", pid)) => drop(groups.remove(pid)),
            Some(("+folder", folder)) => folders.push(PathBuf::from(folder)),
            _ => {}
        }
    }
    for group in groups.iter().filter_map(|pid| pid.parse().ok()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    for folder in folders {
        let _ = fs::remove_dir_all(folder);
    }
}
