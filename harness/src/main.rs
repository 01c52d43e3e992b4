//! The `lab` program: reads the command line and hands over to one of the verbs.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{
    panic,
    process::{ExitCode, exit},
    thread,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::{
    cluster::warden,
    output,
    verbs::{audit, check, explore, grade, overview, replay, reset, run, shrink},
    verdict::Verdict,
};
use tokio::signal::unix::{SignalKind, signal};

/// The proxy carries a seventh more messages with it than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the program exits with for a mistake in its use and for its own failures.
const EXIT_HARNESS: u8 = Verdict::HarnessError.exit_code();
const EXIT_INTERRUPTED: i32 = 130;

/// Break a distributed service, see why, mend it.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version, term_width = output::columns())]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Build your lab, break it, and say milestone by milestone what held
    Grade(grade::Args),
    /// Prove the grader: references pass, every gap and every wrong answer is caught
    Audit(audit::Args),
    /// Try thousands of schedules in simulation, until one fails
    ///
    /// All nodes, clients and faults run in one process on virtual time: the lab's own code, but no
    /// sockets, no real disk, and Rust only. What fails here is a failure; what holds here is yet
    /// to be graded.
    Explore(explore::Args),
    /// Make a failing run of explore small: few faults, few operations
    Shrink(shrink::Args),
    /// Try the schedule of a recorded run again
    Replay(replay::Args),
    /// Start a lab's nodes in the foreground, to be tried by hand
    Run(run::Args),
    /// Judge a history without running anything
    Check(check::Args),
    /// Put a lab's files back as they were handed out (asks first)
    Reset(reset::Args),
    #[command(name = warden::VERB, hide = true)]
    Warden,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too.
            let code = if error.use_stderr() { EXIT_HARNESS } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    if matches!(cli.verb, Some(Verb::Warden)) {
        warden::run();
        return ExitCode::SUCCESS;
    }
    end_on_panic();
    end_on_signals();
    match obey(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            EXIT_HARNESS.into()
        }
    }
}

fn obey(cli: Cli) -> Result<u8> {
    match cli.verb {
        None => overview::run(),
        Some(Verb::Grade(args)) => grade::run(args),
        Some(Verb::Audit(args)) => audit::run(&args),
        Some(Verb::Explore(args)) => explore::run(&args),
        Some(Verb::Shrink(args)) => shrink::run(&args),
        Some(Verb::Replay(args)) => replay::run(&args),
        Some(Verb::Run(args)) => run::run(&args),
        Some(Verb::Check(args)) => check::run(&args),
        Some(Verb::Reset(args)) => reset::run(&args),
        Some(Verb::Warden) => unreachable!("main has seen to it"),
    }
}

/// A panic anywhere in the harness, even in a task whose end nobody awaits, is the harness's own
/// failure and must not look like a verdict. The warden clears up.
fn end_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        output::say("error: the harness itself failed, which says nothing about the lab");
        exit(EXIT_HARNESS.into());
    }));
}

/// Ctrl-C and a request to terminate end the program at once; SIGUSR1 makes it panic, so that a
/// test can see what that leaves behind. The warden clears up.
fn end_on_signals() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime for signals can be made").block_on(async {
            let listen = |kind| signal(kind).expect("a signal to wait for");
            let mut interrupt = listen(SignalKind::interrupt());
            let mut terminate = listen(SignalKind::terminate());
            let mut user_defined = listen(SignalKind::user_defined1());
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = user_defined.recv() => panic!("asked to, by SIGUSR1"),
            }
            output::say("\nstopped: nothing was graded, and nothing is left running");
            exit(EXIT_INTERRUPTED);
        });
    });
}
