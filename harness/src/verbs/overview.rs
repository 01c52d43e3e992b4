//! `lab` alone: the labs, how far the learner is, and the next command.

use std::collections::BTreeMap;

use anyhow::Result;
use console::style;

use crate::{
    grade,
    lab::{Lab, Milestone},
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
    let progress = grade::progress(&workspace.runs_dir());
    for name in Lab::names(&workspace)? {
        let lab = Lab::load(&workspace, &name)?;
        let (points, next) = standing(&lab, &progress);
        output::print(wrapped(&format!("{}: {}", style(&name).bold(), lab.title)));
        output::print(labelled("points", &points));
        // Never broken up, so that it can be copied.
        output::print(format_args!("  next:     {next}\n"));
    }
    output::print("The handouts are labs/LAB/README.md.\nAll commands: cargo lab --help");
    Ok(0)
}

/// How many points the learner has in a lab, and the next command.
fn standing(lab: &Lab, progress: &BTreeMap<(String, String), Verdict>) -> (String, String) {
    let verdict = |of: &Milestone| progress.get(&(lab.name.clone(), of.id.clone())).copied();
    let has_passed = |of: &&Milestone| verdict(of) == Some(Verdict::Passed);
    let grade = format!("cargo lab grade {}", lab.name);
    if lab.milestones.iter().all(|milestone| verdict(milestone).is_none()) {
        return ("not graded yet".to_owned(), grade);
    }
    let points = |milestones: &mut dyn Iterator<Item = &Milestone>| -> u32 {
        milestones.map(|milestone| milestone.points).sum()
    };
    let all = points(&mut lab.milestones.iter());
    let next = match lab.milestones.iter().find(|it| !has_passed(it)) {
        Some(open) => format!("{grade} --milestone {}", open.id),
        None => format!("{grade} --seed 100 --runs 20"),
    };
    (format!("{} of {all}", points(&mut lab.milestones.iter().filter(has_passed))), next)
}
