//! What the operating system tells about processes, read from `/proc`; nothing where there is none.

use std::{fs, path::Path, time::Duration};

/// The operating system's number of a thread.
pub type ThreadId = u32;

/// What `stat` counts processor time in (`USER_HZ`, 100 on every Linux that we run on), in
/// milliseconds.
const TICK_MS: u64 = 10;

/// A process, as `/proc/PID/stat` describes it.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The process group.
    pub group: u32,
    /// Whether a signal has stopped it.
    pub is_stopped: bool,
    /// Its resident memory.
    pub resident_bytes: u64,
}

/// What a thread has done since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// How long it has had a processor.
    pub ran: Duration,
    /// Whether it waits for something else than a processor.
    pub is_asleep: bool,
}

/// Every process there is.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// The process `pid`, if there is one.
pub fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = after_the_name(&stat)?;
    let page_bytes: u64 = 4096;
    Some(Process {
        pid,
        group: fields.get(2)?.parse().ok()?,
        is_stopped: fields.first()?.eq_ignore_ascii_case("t"),
        resident_bytes: fields.get(21)?.parse::<u64>().ok()? * page_bytes,
    })
}

/// What this process's `thread` has done, if it still runs.
pub fn activity(thread: ThreadId) -> Option<Activity> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    let fields = after_the_name(&stat)?;
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let ran = Duration::from_millis((ticks(11)? + ticks(12)?) * TICK_MS);
    Some(Activity { ran, is_asleep: *fields.first()? != "R" })
}

/// The calling thread.
pub fn own_thread() -> ThreadId {
    nix::unistd::gettid().as_raw().unsigned_abs()
}

/// The fields of a `stat` from the state on.
fn after_the_name(stat: &str) -> Option<Vec<&str>> {
    // The name, in parentheses, may hold anything.
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

/// The time that each thread of `pid` was ready to run and did not, from its `schedstat`.
pub fn run_queue_waits(pid: u32) -> Vec<(ThreadId, Duration)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let wait = |task: fs::DirEntry| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        Some((thread, run_queue_wait(&task.path())?))
    };
    tasks.filter_map(wait).collect()
}

/// The same for the calling thread.
pub fn own_run_queue_wait() -> Option<Duration> {
    run_queue_wait(Path::new("/proc/thread-self"))
}

fn run_queue_wait(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let wait_ns = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(wait_ns))
}
