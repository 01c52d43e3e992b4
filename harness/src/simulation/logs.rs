//! What the nodes of a simulation log, each in a file of its own.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{Context, Result};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{
    Layer,
    fmt::{self as lines, MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
};

use super::streams::Printed;
use crate::{
    cluster::{limits, simulated::watchdog},
    fabric::RunClock,
};

/// The logs of a run, by node; cheap to clone.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    by_node: BTreeMap<String, Vec<u8>>,
    printed: Option<Printed>,
}

/// While it lives, logs are collected.
pub struct Collecting {
    logs: Logs,
    _tracing: DefaultGuard,
}

/// One line on its way.
pub struct Line {
    logs: Logs,
    node: Option<String>,
}

impl Logs {
    /// Takes what the nodes on this thread log and print for as long as the returned guard lives;
    /// what is printed lies in the folder `scratch` meanwhile.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn collect(&self, clock: RunClock, scratch: &Path) -> Result<Collecting> {
        self.lines().printed = Some(Printed::collect(scratch).context("cannot keep logs")?);
        let logs = self.clone();
        watchdog::after_each(Some(Box::new(move |node| logs.lines().append(node, &[]))));
        let log = lines::layer().with_ansi(false).with_timer(RunTime(clock));
        let log = log.with_writer(self.clone()).with_filter(node::log::wanted());
        let tracing = tracing::subscriber::set_default(tracing_subscriber::registry().with(log));
        Ok(Collecting { logs: self.clone(), _tracing: tracing })
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Writes `NODE.log` into `dir` for each node that has been heard of.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (node, log) in &self.lines().by_node {
            let path = dir.join(format!("{node}.log"));
            fs::write(&path, log).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Lines {
    /// Appends what the node has printed, and then `bytes`, to its log.
    fn append(&mut self, node: &str, bytes: &[u8]) {
        let printed = self.printed.as_mut().map(Printed::take).unwrap_or_default();
        let log = self.by_node.entry(node.to_owned()).or_default();
        for bytes in [&printed, bytes] {
            if (log.len() + bytes.len()) as u64 <= limits::LOG {
                log.extend_from_slice(bytes);
            }
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        watchdog::after_each(None);
        self.logs.lines().printed = None;
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
            self.logs.lines().append(node, bytes);
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
