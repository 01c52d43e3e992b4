//! The program that a lab is linked into: it runs plan after plan, and sees code that hangs.

use std::{
    future::Future,
    hint::black_box,
    io::{self, BufRead},
    panic,
    process::{ExitCode, exit},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
};

use anyhow::{Context as _, Result};
use node::{Context, Services};

use super::{
    Answer, Report, Request,
    pulse::{self, LOOK_EVERY, Stillness},
    run::run,
    streams,
};
use crate::{
    checker::seconds,
    cluster::{
        limits,
        proc::{self, ThreadId},
        simulated::{Lab, host, watchdog},
    },
    output,
    verdict::Verdict,
};

/// A variant of a lab, by the function from what a node is given to the services it serves.
pub fn lab<F>(node: impl Fn(Context) -> F + Send + Sync + 'static) -> Lab
where
    F: Future<Output = Services> + Send + 'static,
{
    Arc::new(move |context| Box::pin(node(context)))
}

/// Runs what standard input asks for until it ends. `enter` makes a new thread repeatable from a
/// seed for as long as what it returns lives; `fingerprint` is that of all variants together.
pub fn main<G: 'static>(variants: Vec<Lab>, fingerprint: &str, enter: fn(u64) -> G) -> ExitCode {
    // The harness looks for it in the program.
    black_box(fingerprint);
    note_panics();
    // Code that wants all the memory there is ends this process and not others.
    if let Err(error) = limits::impose() {
        output::say(format_args!("error: cannot limit what the simulation uses: {error}"));
    }
    if let Err(error) = streams::take() {
        output::say(format_args!("error: cannot take the standard streams: {error}"));
        return ExitCode::FAILURE;
    }
    match serve(&variants, enter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody listens there is nobody to be told.
            let _ = answer(&Answer::Failed(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn note_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !host::note_panic(panic) {
            streams::give_back_errors();
            report(panic);
            let _ = answer(&Answer::Failed("it panicked, as stands above".to_owned()));
            exit(1);
        }
    }));
}

fn serve<G: 'static>(variants: &[Lab], enter: fn(u64) -> G) -> Result<()> {
    let mut is_warm = false;
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).context("a request")?;
        let lab = variants.get(request.variant).context("the program has no such variant")?;
        if !is_warm {
            // What libraries make once in a process, they make for a run that nobody looks at: it
            // would draw from the randomness of the run that comes first.
            let _ = run_alone(request.clone(), lab, enter)?;
            is_warm = true;
        }
        answer(&Answer::Report(run_alone(request, lab, enter)?))?;
    }
    Ok(())
}

/// Runs one request on a thread of its own: what a thread draws once, each run draws anew.
fn run_alone<G: 'static>(request: Request, lab: &Lab, enter: fn(u64) -> G) -> Result<Report> {
    let (sender, report) = mpsc::channel();
    let (started, thread) = mpsc::channel();
    let lab = lab.clone();
    let runs = thread::Builder::new().name("simulation".into()).spawn(move || {
        // Both receivers wait, or give up together with the process.
        let _ = started.send(proc::own_thread());
        let _repeatable = enter(request.plan.seed);
        let _ = sender.send(run(&request, &lab));
    })?;
    let Some(report) = wait(&report, thread.recv()?) else {
        answer(&Answer::Last(hanging()))?;
        // That thread cannot be ended in any other way.
        exit(1)
    };
    // Whatever the thread holds is gone before the next run begins.
    let _ = runs.join();
    report
}

/// The report of `thread`; `None` when virtual time has stood still for too long.
fn wait(report: &mpsc::Receiver<Result<Report>>, thread: ThreadId) -> Option<Result<Report>> {
    let mut stillness = Stillness::default();
    loop {
        match report.recv_timeout(LOOK_EVERY) {
            Ok(report) => return Some(report),
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err(anyhow::anyhow!("the simulation ended without a report")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        // A thread that is gone has sent its report.
        let activity = proc::activity(thread).unwrap_or_default();
        if stillness.hangs(pulse::now_us(), activity) {
            return None;
        }
    }
}

fn hanging() -> Report {
    let at = seconds(pulse::now_us());
    let story = match watchdog::running() {
        Some(node) => format!(
            "{node} hangs since {at}: its code does not let go of its thread, as in a busy loop \
             or a deadlock."
        ),
        None => format!("Time stands still since {at}: tasks keep waking each other without end."),
    };
    Report::without_run(Verdict::Broken, story)
}

fn answer(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    streams::report(&line).context("nobody listens")
}
