//! `lab grade`: builds a variant, breaks it, and says milestone by milestone what held.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{AccessFlags, access};

use super::{Code, begin};
use crate::{
    build::Kind,
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
    if let Some(file) = &args.json {
        check_writable(file)?;
    }
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
    let warden = begin(&workspace, Kind::Node)?;
    let graded = grade::grade(&workspace, &lab, &request, &warden, &progress);
    progress.finish();
    let (grade, _) = graded?;
    let written = args.json.map_or(Ok(()), |file| write_json(&file, &grade));
    terminal::print(&lab, &grade);
    written?;
    Ok(grade.verdict().exit_code())
}

/// Whether the file can be written, as far as that can be known beforehand.
fn check_writable(file: &Path) -> Result<()> {
    let shown = file.display();
    ensure!(!file.is_dir(), "--json {shown}: this is a folder; name a file in it");
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    ensure!(
        folder.is_dir(),
        "--json {shown}: there is no folder {}; make it first",
        folder.display()
    );
    let place = if file.exists() { file } else { folder };
    access(place, AccessFlags::W_OK)
        .with_context(|| format!("--json {shown}: it cannot be written; name another file"))
}
