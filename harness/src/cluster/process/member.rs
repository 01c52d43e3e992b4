//! One node as a process: spawned, asked whether it is ready, looked at, ended.
#![expect(unsafe_code, reason = "a child must be told to die with its parent before it starts")]

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

#[cfg(target_os = "linux")]
use landlock::RulesetCreated;
#[cfg(target_os = "linux")]
use nix::sys::prctl;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

#[cfg(target_os = "linux")]
use super::super::scratch::fence;
use super::{
    super::{
        DiskDelays, NodeFailure,
        limits::{self, MIB},
        log,
        proc::{self, Process},
        warden::Warden,
    },
    READY_WITHIN,
};

/// How long one question after its health may take.
const HEALTH_DEADLINE: Duration = Duration::from_millis(500);
/// The pause between two questions after its health.
const HEALTH_PAUSE: Duration = Duration::from_millis(5);

/// How much memory makes it a node's own fault that the system killed it.
const MUCH: u64 = limits::MEMORY / 2;

/// One node, whether it runs or not.
pub(super) struct Member {
    pub name: String,
    pub program: PathBuf,
    pub address: String,
    pub data_dir: PathBuf,
    pub environment: Vec<(&'static str, String)>,
    pub log: PathBuf,
    pub disk_delays: DiskDelays,
    pub starts: u32,
    pub process: Option<Child>,
    /// Its memory at the last look.
    pub resident_bytes: u64,
}

impl Member {
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.starts += 1;
        self.resident_bytes = 0;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.env_clear();
        // What the programs of other languages need to find their runtimes.
        let inherited = ["PATH", "HOME"].map(|name| (name, std::env::var(name)));
        command.envs(inherited.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))));
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("START", self.starts.to_string())
            .env("DISK_DELAY_MS", self.disk_delays.draw_ms().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        #[cfg(target_os = "linux")]
        let mut fence =
            Some(fence::around(&self.data_dir, &self.program).map_err(io::Error::other)?);
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec, only system calls and nothing that allocates. The signal
        // follows the thread that spawns, which lives as long as this cluster.
        unsafe {
            command.pre_exec(move || {
                #[cfg(target_os = "linux")]
                {
                    prctl::set_pdeathsig(Signal::SIGKILL)?;
                    fence.take().map(RulesetCreated::restrict_self).transpose().ok();
                }
                limits::impose()?;
                // The harness may have died before the line above.
                match nix::unistd::getppid() == parent {
                    true => Ok(()),
                    false => Err(io::ErrorKind::BrokenPipe.into()),
                }
            });
        }
        command.spawn()
    }

    /// Ends when it says that it is ready, be it never.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .expect("a port block gives addresses");
        async move {
            let mut health = HealthClient::new(endpoint.connect_lazy());
            loop {
                let question = health.check(HealthCheckRequest::default());
                if let Ok(Ok(answer)) = timeout(HEALTH_DEADLINE, question).await
                    && answer.into_inner().status() == ServingStatus::Serving
                {
                    return;
                }
                sleep(HEALTH_PAUSE).await;
            }
        }
    }

    pub fn never_ready(&self) -> NodeFailure {
        let log = log::tail(&self.log);
        self.failure(format!("was not ready {} s after its start{log}", READY_WITHIN.as_secs()))
    }

    /// Its own memory, if it runs.
    pub fn look(&mut self) -> Option<u64> {
        let process = proc::process(self.process.as_ref()?.id()?)?;
        // One that has just ended has none.
        if process.resident_bytes > 0 {
            self.resident_bytes = process.resident_bytes;
        }
        Some(process.resident_bytes)
    }

    pub fn greedy(&mut self, all: &[Process], warden: &Warden) -> Option<NodeFailure> {
        let pid = self.process.as_ref()?.id()?;
        let what = limits::exceeded(pid, all, &self.data_dir, &self.log)?;
        kill_group(pid);
        warden.forget_group(pid);
        // tokio reaps it.
        self.process = None;
        Some(self.failure(what))
    }

    pub fn fallen(&mut self, warden: &Warden) -> Option<NodeFailure> {
        let process = self.process.as_mut()?;
        let pid = process.id();
        let status = process.try_wait().ok()??;
        self.process = None;
        if let Some(pid) = pid {
            // What it has started is of no more use.
            kill_group(pid);
            warden.forget_group(pid);
        }
        let what = match log::panic(&self.log) {
            _ if status.signal() == Some(KILL) && self.resident_bytes > MUCH => {
                format!("was killed while it used more than {} MiB of memory", MUCH / MIB)
            }
            _ if status.signal() == Some(KILL) => {
                let what = "was killed by something outside of the harness: is the machine short \
                            of memory?";
                return Some(NodeFailure::of_machine(&self.name, what.to_owned()));
            }
            Some(panic) => panic,
            None if log::ran_out_of_memory(&self.log) => limits::refused_memory(),
            None => {
                format!("{} though nobody stopped it{}", describe(status), log::tail(&self.log))
            }
        };
        Some(self.failure(what))
    }

    pub fn failure(&self, what: String) -> NodeFailure {
        NodeFailure::own(&self.name, what)
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(XFSZ)) => "wrote a file of more than 512 MiB and was stopped".to_owned(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The signal that the limit on the size of a file sends.
const XFSZ: i32 = Signal::SIGXFSZ as i32;
/// The signal of a system that is out of memory: what the harness kills itself is not looked at.
const KILL: i32 = Signal::SIGKILL as i32;

pub(super) fn kill_group(pid: u32) {
    signal_group(pid, Signal::SIGKILL);
}

pub(super) fn signal_group(pid: u32, signal: Signal) {
    let group = i32::try_from(pid).expect("process numbers are small");
    // Gone already is as good.
    let _ = killpg(Pid::from_raw(group), signal);
}
