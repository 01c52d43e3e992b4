//! `lab` alone: the labs, how far the learner is, and the next command.

use std::fs;

use anyhow::Result;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};

use crate::{
    files::read_json, grade::graded::Grade, lab::Lab, verdict::Verdict, workspace::Workspace,
};

/// Prints the overview.
///
/// # Errors
/// When a lab cannot be read.
pub fn run() -> Result<u8> {
    let workspace = Workspace::find()?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["lab", "", "your last grade", "next"]);
    for name in Lab::names(&workspace)? {
        let lab = Lab::load(&workspace, &name)?;
        let last = last_grade(&workspace, &lab);
        let (score, next) = match &last {
            None => ("none yet".to_owned(), format!("cargo lab grade {name}")),
            Some(grade) => {
                let score = format!("{} of {} points", grade.score, grade.max_score);
                (score, next_command(grade))
            }
        };
        table.add_row([name.clone(), lab.title, score, next]);
    }
    println!("{table}\nEach lab's handout is labs/LAB/README.md. All commands: cargo lab --help");
    Ok(0)
}

fn next_command(grade: &Grade) -> String {
    let open = grade.milestones.iter().find(|milestone| milestone.verdict != Verdict::Passed);
    match open {
        Some(open) => format!("cargo lab grade {} --milestone {}", grade.lab, open.id),
        None => "done: try another seed with --seed".to_owned(),
    }
}

/// The last grade of the learner's own code, all milestones of it.
fn last_grade(workspace: &Workspace, lab: &Lab) -> Option<Grade> {
    let runs = fs::read_dir(workspace.lab_dir().join("runs")).ok()?;
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
