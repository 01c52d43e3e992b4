//! `lab` alone: the labs, how far the learner is, and the next command.

use std::fs;

use anyhow::Result;
use console::style;

use crate::{
    files::read_json,
    grade::graded::Grade,
    lab::Lab,
    output,
    report::terminal::{labelled, wrapped},
    verdict::Verdict,
    workspace::Workspace,
};

/// Prints the overview.
///
/// # Errors
/// When a lab cannot be read.
pub fn run() -> Result<u8> {
    let workspace = Workspace::find()?;
    for name in Lab::names(&workspace)? {
        let lab = Lab::load(&workspace, &name)?;
        let (points, next) = match &last_grade(&workspace, &lab) {
            None => ("not graded yet".to_owned(), format!("cargo lab grade {name}")),
            Some(grade) => (format!("{} of {}", grade.score, grade.max_score), next_command(grade)),
        };
        output::print(wrapped(&format!("{}: {}", style(&name).bold(), lab.title)));
        output::print(labelled("points", &points));
        // Never broken up, so that it can be copied.
        output::print(format_args!("  next:     {next}\n"));
    }
    output::print("The handouts are labs/LAB/README.md.\nAll commands: cargo lab --help");
    Ok(0)
}

fn next_command(grade: &Grade) -> String {
    let open = grade.milestones.iter().find(|milestone| milestone.verdict != Verdict::Passed);
    match open {
        Some(open) => format!("cargo lab grade {} --milestone {}", grade.lab, open.id),
        None => format!("cargo lab grade {} --seed 100 --runs 20", grade.lab),
    }
}

/// The last grade of the learner's own code, all milestones of it.
fn last_grade(workspace: &Workspace, lab: &Lab) -> Option<Grade> {
    let runs = fs::read_dir(workspace.runs_dir()).ok()?;
    let mut dirs: Vec<_> = runs.flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    let whole = |grade: &Grade| {
        grade.lab == lab.name
            && grade.variant == "mine"
            && grade.milestones.len() == lab.milestones.len()
    };
    let mut grades = dirs.iter().rev().filter_map(|dir| read_json(&dir.join("grade.json")).ok());
    grades.find(whole)
}
