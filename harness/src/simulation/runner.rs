//! The program that a lab is linked into: it runs plan after plan, and sees code that hangs.

use std::{
    future::Future,
    hint::black_box,
    io::{self, BufRead, Write},
    mem, panic,
    process::{ExitCode, exit},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use node::{Context, Services};

use super::{Report, Request, run::run};
use crate::{
    checker::seconds,
    cluster::{
        limits,
        proc::{self, Activity, ThreadId},
        simulated::{Lab, host, watchdog},
    },
    grade::verdict::Verdict,
};

/// For how long virtual time may stand still before the code that runs counts as hanging; what its
/// thread waits for a processor is not counted.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const EXIT_HARNESS: u8 = 4;

/// The virtual time of the run, in microseconds, as last heard of; [`OVER`] when no node runs.
static PULSE_US: AtomicU64 = AtomicU64::new(OVER);
const OVER: u64 = u64::MAX;

/// Virtual time goes on.
pub(super) fn pulse(now_us: u64) {
    PULSE_US.store(now_us, Ordering::Relaxed);
}

/// No code of a node runs any more: what is left, the checks and the record, may take its time.
pub(super) fn over() {
    PULSE_US.store(OVER, Ordering::Relaxed);
}

/// Runs what standard input asks for until it ends. `enter` makes a new thread repeatable from a
/// seed for as long as what it returns lives; `fingerprint` is that of the lab.
pub fn main<L, F, G>(lab: L, fingerprint: &str, enter: fn(u64) -> G) -> ExitCode
where
    L: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output = Services> + Send + 'static,
    G: 'static,
{
    // The harness looks for it in the program.
    black_box(fingerprint);
    note_panics();
    // Code that wants all the memory there is ends this process and not others.
    if let Err(error) = limits::impose() {
        eprintln!("error: cannot limit what the simulation uses: {error}");
    }
    let lab: Lab = Arc::new(move |context| Box::pin(lab(context)));
    match serve(&lab, enter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_HARNESS)
        }
    }
}

fn note_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !host::note_panic(panic) {
            report(panic);
            exit(EXIT_HARNESS.into());
        }
    }));
}

fn serve<G: 'static>(lab: &Lab, enter: fn(u64) -> G) -> Result<()> {
    let mut is_warm = false;
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).context("a request")?;
        if !is_warm {
            // What libraries make once in a process, they make for a run that nobody looks at: it
            // would draw from the randomness of the run that comes first.
            let _ = run_alone(request.clone(), lab, enter)?;
            is_warm = true;
        }
        answer(&run_alone(request, lab, enter)?)?;
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
        answer(&hanging())?;
        // That thread cannot be ended in any other way.
        exit(EXIT_HARNESS.into())
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
        if stillness.hangs(PULSE_US.load(Ordering::Relaxed), activity) {
            return None;
        }
    }
}

/// How long virtual time stands still, by what the thread of the run did meanwhile: one that waits for
/// a processor does not hang.
#[derive(Default)]
struct Stillness {
    seen_us: Option<u64>,
    ran: Duration,
    lasts: Duration,
}

impl Stillness {
    /// Looks again, and says whether the run hangs. One that is over, and is being checked, does
    /// not.
    fn hangs(&mut self, now_us: u64, thread: Activity) -> bool {
        let stands = self.seen_us.replace(now_us) == Some(now_us) && now_us != OVER;
        let ran = thread.ran.saturating_sub(mem::replace(&mut self.ran, thread.ran));
        // Nobody else would wake a thread that sleeps.
        let stood = if thread.is_asleep { LOOK_EVERY } else { ran };
        self.lasts = if stands { self.lasts + stood } else { Duration::ZERO };
        self.lasts >= HANGS_AFTER
    }
}

fn hanging() -> Report {
    let at = seconds(PULSE_US.load(Ordering::Relaxed));
    let story = match watchdog::running() {
        Some(node) => format!(
            "{node} hangs since {at}: its code does not let go of its thread, as in a busy loop \
             or a deadlock."
        ),
        None => format!("Time stands still since {at}: tasks keep waking each other without end."),
    };
    Report::without_run(Verdict::Broken, story)
}

fn answer(report: &impl serde::Serialize) -> Result<()> {
    // In one piece: standard output passes on each kilobyte as it comes.
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("nobody listens")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(looks: u32) -> Activity {
        Activity { ran: LOOK_EVERY * looks, is_asleep: false }
    }

    const ASLEEP: Activity = Activity { ran: Duration::ZERO, is_asleep: true };

    #[test]
    fn a_busy_loop_hangs_after_a_while() {
        let mut stillness = Stillness::default();
        let looks = (0..1000).position(|look| stillness.hangs(7, ran(look))).unwrap();
        assert_eq!(looks as u128, HANGS_AFTER.as_millis() / LOOK_EVERY.as_millis());
    }

    #[test]
    fn a_deadlock_hangs_after_a_while() {
        let mut stillness = Stillness::default();
        let looks = (0..1000).position(|_| stillness.hangs(7, ASLEEP)).unwrap();
        assert_eq!(looks as u128, HANGS_AFTER.as_millis() / LOOK_EVERY.as_millis());
    }

    #[test]
    fn a_thread_that_gets_no_processor_does_not_hang() {
        let mut stillness = Stillness::default();
        assert!((0..1000).all(|_| !stillness.hangs(7, ran(1))));
    }

    #[test]
    fn time_that_goes_on_does_not_hang() {
        let mut stillness = Stillness::default();
        assert!((0..1000).all(|look| !stillness.hangs(u64::from(look / 2), ran(look))));
    }

    #[test]
    fn checks_that_take_long_do_not_hang() {
        let mut stillness = Stillness::default();
        assert!(!stillness.hangs(7, ASLEEP));
        assert!((0..1000).all(|look| !stillness.hangs(OVER, ran(look))));
    }
}
