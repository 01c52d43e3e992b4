//! What the nodes of a simulation log, each in a file of its own.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{
    Layer,
    fmt::{self as lines, MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
};

use crate::{
    cluster::{limits, simulated::watchdog},
    fabric::RunClock,
};

/// The logs of a run, by node; cheap to clone.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

/// One line on its way.
pub struct Line {
    logs: Logs,
    node: Option<String>,
}

impl Logs {
    /// Takes what the nodes on this thread log for as long as the returned guard lives.
    pub fn collect(&self, clock: RunClock) -> DefaultGuard {
        let log = lines::layer().with_ansi(false).with_timer(RunTime(clock));
        let log = log.with_writer(self.clone()).with_filter(node::log::wanted());
        tracing::subscriber::set_default(tracing_subscriber::registry().with(log))
    }

    /// Writes `NODE.log` into `dir` for each node that has been heard of.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (node, log) in &*self.0.lock().expect("no holder of this lock panics") {
            let path = dir.join(format!("{node}.log"));
            fs::write(&path, log).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { logs: self.clone(), node: watchdog::running() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is said between the nodes is of no interest to their author.
        if let Some(node) = &self.node {
            let mut logs = self.logs.0.lock().expect("no holder of this lock panics");
            let log = logs.entry(node.clone()).or_default();
            if (log.len() + bytes.len()) as u64 <= limits::LOG {
                log.extend_from_slice(bytes);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Seconds since the start of the run, as stories tell them.
struct RunTime(RunClock);

impl FormatTime for RunTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now_us = self.0.peek_us();
        write!(writer, "{}.{:06} s", now_us / 1_000_000, now_us % 1_000_000)
    }
}
