//! The harness's end of a simulation runner: a process that runs one plan after the other.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{
    build::Program,
    cluster::{scratch::Scratch, warden::Warden},
    simulation::{Answer, Plan, Report, Request},
    verdict::Verdict,
};

/// Runs plans, each at once; the process behind it is started when it is needed.
pub struct Runner {
    program: PathBuf,
    variant: usize,
    warden: Warden,
    process: Option<Process>,
}

struct Process {
    scratch: Scratch,
    child: Child,
    requests: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Runner {
    /// A runner of the variant that `program` is for.
    pub fn new(program: &Program, warden: &Warden) -> Self {
        let Program { path, number, .. } = program.clone();
        Self { program: path, variant: number, warden: warden.clone(), process: None }
    }

    /// Runs `plan`, and keeps what happened in the folder `keep`, if there is one.
    ///
    /// # Errors
    /// When the program cannot be started or does not answer as it should: never the lab's fault.
    pub fn run(&mut self, plan: &Plan, keep: Option<&Path>) -> Result<Report> {
        let variant = self.variant;
        let process = self.process()?;
        let (plan, keep) = (plan.clone(), keep.map(Path::to_owned));
        let scratch = process.scratch.path().to_owned();
        let request = Request { variant, plan, keep, scratch };
        let mut line = serde_json::to_string(&request)?;
        line.push('\n');
        let mut answer = String::new();
        // A process that is gone shows itself when it does not answer.
        let _ = process.requests.write_all(line.as_bytes());
        process.reports.read_line(&mut answer).context("cannot read from the simulation")?;
        if answer.is_empty() {
            return self.ended();
        }
        match serde_json::from_str(&answer).context("the simulation answers something else")? {
            Answer::Report(report) => Ok(report),
            Answer::Last(report) => {
                self.end();
                Ok(report)
            }
            Answer::Failed(why) => bail!("the simulation itself failed: {why}"),
        }
    }

    /// The process behind it, if there is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    fn process(&mut self) -> Result<&mut Process> {
        if let Some(process) = &mut self.process
            && process.child.try_wait()?.is_some()
        {
            self.end();
        }
        if self.process.is_none() {
            let scratch = Scratch::new(&self.warden)?;
            let mut command = Command::new(&self.program);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
            // Each run has a thread of its own: what the last one gave back, the next one wants.
            command.env("MIMALLOC_PURGE_DELAY", "-1");
            // Each refused connection is an error, and nobody reads where in the code it was made.
            command.env("RUST_LIB_BACKTRACE", "0");
            let mut child = command
                .spawn()
                .with_context(|| format!("cannot start {}", self.program.display()))?;
            self.warden.watch_group(child.id());
            let requests = child.stdin.take().context("its input was asked for")?;
            let reports = child.stdout.take().context("its output was asked for")?;
            let reports = BufReader::new(reports);
            self.process = Some(Process { scratch, child, requests, reports });
        }
        self.process.as_mut().context("it was made above")
    }

    /// What to say of a run that ended its process.
    fn ended(&mut self) -> Result<Report> {
        let status = self.process.as_mut().and_then(|process| process.child.wait().ok());
        self.end();
        // A system that is out of memory does that.
        let is_killed = |status: ExitStatus| status.signal() == Some(Signal::SIGKILL as i32);
        ensure!(
            !status.is_some_and(is_killed),
            "the simulation was killed by something outside of the harness: is the machine short \
             of memory?"
        );
        let how = status.map_or_else(|| "it is gone".to_owned(), |status| status.to_string());
        let story = format!(
            "The code of some node ended the whole simulation ({how}): it exits, or needs more \
             memory than there is."
        );
        Ok(Report::without_run(Verdict::Broken, story))
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
            self.warden.forget_group(process.child.id());
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.end();
    }
}
