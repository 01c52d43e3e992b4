//! `lab check`: judges a history that anybody may have written, without running anything.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use crate::{history, report::terminal::labelled, workload::lock};

/// Which history, and what it is held against.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The history: JSON lines, one operation a line, as in a run's folder
    history: PathBuf,
    /// What it should be a history of
    #[arg(long, value_enum)]
    model: Model,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// A sequential specification.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Model {
    /// Locks with leases and fencing tokens, and the value that they guard
    Lock,
}

/// Checks, and prints the verdict: exit code 0 if it is linearizable, 1 if not.
///
/// # Errors
/// When the file holds no history: the file, the line, and what is wrong with it.
pub fn run(args: &Args) -> Result<u8> {
    let operations = history::read(&args.history)?;
    let finding = match args.model {
        Model::Lock => lock::check_history(&operations),
    };
    let verdict = if finding.is_none() { "linearizable" } else { "not linearizable" };
    if args.json {
        let why = finding.as_ref().map(|finding| finding.sentence.as_str());
        let operations = operations.len();
        println!("{}", json!({ "verdict": verdict, "operations": operations, "why": why }));
    } else {
        println!("{verdict}: {} operations", operations.len());
        if let Some(finding) = &finding {
            println!("{}", labelled("happened", &finding.sentence));
        }
    }
    Ok(u8::from(finding.is_some()))
}
