//! However the harness ends, nothing of it is left two seconds later.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{command, turn};

/// What a grade in full swing has: processes, the addresses they listen on, folders.
#[derive(Default)]
struct Traces {
    processes: BTreeSet<u32>,
    addresses: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn traces_of(harness: u32) -> Traces {
    let mut traces = Traces::default();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if parent_of(pid) != Some(harness) {
            continue;
        }
        traces.processes.insert(pid);
        let environment = fs::read_to_string(entry.path().join("environ")).unwrap_or_default();
        for variable in environment.split('\0') {
            if let Some(address) = variable.strip_prefix("LISTEN=") {
                traces.addresses.insert(address.to_owned());
            }
            if let Some(folder) = variable.strip_prefix("DATA_DIR=") {
                traces.folders.extend(PathBuf::from(folder).parent().map(PathBuf::from));
            }
        }
    }
    traces
}

fn start_grade() -> (Child, Traces) {
    let mut command = command(&["grade", "lock", "--variant", "starter", "--runs", "8"]);
    let harness = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut traces = Traces::default();
    // Two clusters of three, and the warden.
    while traces.addresses.len() < 6 {
        assert!(Instant::now() < deadline, "no cluster came up");
        sleep(Duration::from_millis(20));
        traces = traces_of(harness.id());
    }
    (harness, traces)
}

fn nothing_is_left(traces: &Traces) {
    sleep(Duration::from_secs(2));
    for pid in &traces.processes {
        let state = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(state.is_empty(), "process {pid} is left: {state}");
    }
    for address in &traces.addresses {
        assert!(TcpStream::connect(address).is_err(), "somebody still listens on {address}");
    }
    for folder in &traces.folders {
        assert!(!folder.exists(), "{} is left", folder.display());
    }
}

#[test]
fn nothing_is_left_after_kill_nine() {
    let _turn = turn();
    let (mut harness, traces) = start_grade();
    harness.kill().unwrap();
    harness.wait().unwrap();
    nothing_is_left(&traces);
}

#[test]
fn nothing_is_left_after_an_interrupt() {
    let _turn = turn();
    let (harness, traces) = start_grade();
    kill(Pid::from_raw(harness.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = harness.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped: nothing was graded"));
    nothing_is_left(&traces);
}

#[test]
fn nothing_is_left_after_a_panic_which_is_no_verdict() {
    let _turn = turn();
    let (harness, traces) = start_grade();
    kill(Pid::from_raw(harness.id().try_into().unwrap()), Signal::SIGUSR1).unwrap();
    let output = harness.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the harness itself failed"));
    nothing_is_left(&traces);
}
