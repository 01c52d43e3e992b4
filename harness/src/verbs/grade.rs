//! `lab grade`: builds a variant, breaks it, and says milestone by milestone what held.

use std::path::PathBuf;

use anyhow::Result;

use super::Code;
use crate::{
    cluster::warden::Warden,
    files::write_json,
    grade::{self, Request},
    report::terminal::{self, Progress},
};

/// What is to be graded.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    code: Code,
    /// Only this milestone; may be repeated
    #[arg(long, value_name = "ID")]
    milestone: Vec<String>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds each milestone tries [default: what lab.toml says]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Go on with a milestone that has failed, and count its failures
    #[arg(long)]
    all: bool,
    /// How many clusters run side by side [default: what lab.toml says]
    #[arg(long)]
    jobs: Option<usize>,
    /// Also write the grade to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Grades, and prints the report.
///
/// # Errors
/// When the arguments make no sense or the harness fails.
pub fn run(args: Args) -> Result<u8> {
    let (workspace, lab, variant) = args.code.find()?;
    let progress = Progress::new(format!("{} ({variant})", lab.name));
    let request = Request {
        variant,
        milestones: args.milestone,
        seed: args.seed,
        runs: args.runs,
        grades: 1,
        all: args.all,
        jobs: args.jobs.unwrap_or(lab.side_by_side),
    };
    let warden = Warden::start()?;
    let graded = grade::grade(&workspace, &lab, &request, &warden, &progress);
    progress.finish();
    let (grade, _) = graded?;
    terminal::print(&lab, &grade);
    if let Some(file) = args.json {
        write_json(&file, &grade)?;
    }
    Ok(grade.verdict().exit_code())
}
