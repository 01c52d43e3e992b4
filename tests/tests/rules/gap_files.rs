//! Starter, reference and wrong answers fit together.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use harness::{
    gaps::GapFile,
    lab::Lab,
    variant::{Answers, starter},
    workspace::Workspace,
};
use tests::{answers_are_here, root};

/// How many source files the learners of a lab see at most; the handout has a line on each.
const MOST_FILES: usize = 17;

/// Every lab that is handed out.
fn labs() -> (Workspace, Vec<Lab>) {
    env::set_current_dir(root()).expect("the checkout is there");
    let workspace = Workspace::find().expect("the tests run in a checkout");
    let names = Lab::names(&workspace).expect("there are labs");
    let load = |name: &String| Lab::load(&workspace, name).expect("the lab can be read");
    let labs = names.iter().map(load).collect();
    (workspace, labs)
}

/// A learner who has mended the gaps still has a green `cargo test`; CI has the pristine files.
#[test]
fn the_working_tree_holds_the_starter() {
    if env::var_os("CI").is_none() {
        return eprintln!("skipped: outside CI the gap files are the learner's own");
    }
    for lab in labs().1 {
        for (path, text) in starter(&lab).unwrap() {
            let here = fs::read_to_string(lab.dir.join(&path)).unwrap();
            assert_eq!(here, text, "{}", path.display());
        }
    }
}

#[test]
fn starter_and_reference_differ_in_nothing_but_the_gaps() {
    if !answers_are_here() {
        return;
    }
    let (workspace, labs) = labs();
    for lab in labs {
        let reference = Answers::of(&workspace, &lab).reference().unwrap();
        let mut numbers = Vec::new();
        for (path, naive) in starter(&lab).unwrap() {
            let mended = GapFile::parse(&reference[&path]).unwrap();
            let naive = GapFile::parse(&naive).unwrap();
            assert_eq!(mended.outside, naive.outside, "{}", path.display());
            for ((number, ours), (same, theirs)) in mended.gaps.iter().zip(&naive.gaps) {
                assert_eq!(number, same);
                assert_ne!(ours, theirs, "gap {number} is closed in the starter");
                let lines = ours.lines().count();
                assert!((1..=25).contains(&lines), "our gap {number} has {lines} lines");
                numbers.push(*number);
            }
        }
        numbers.sort_unstable();
        let mut graded: Vec<_> = lab.milestones.iter().map(|milestone| milestone.gap).collect();
        graded.sort_unstable();
        graded.dedup();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        assert!(graded.iter().all(|gap| numbers.contains(gap)), "{graded:?}");
    }
}

#[test]
fn every_wrong_answer_changes_the_reference_and_names_its_milestone() {
    if !answers_are_here() {
        return;
    }
    let (workspace, labs) = labs();
    for lab in labs {
        let answers = Answers::of(&workspace, &lab);
        let reference = answers.reference().unwrap();
        let names = answers.wrong_names();
        assert!(names.len() >= 14, "{names:?}");
        let mut seen = vec![reference.clone()];
        for name in names {
            let wrong = answers.wrong(&name).unwrap();
            lab.milestone(&wrong.caught_by).unwrap();
            let texts = wrong.applied(&reference).unwrap();
            assert!(!seen.contains(&texts), "{name} is no new answer");
            seen.push(texts);
        }
    }
}

/// And its handout names each of them.
#[test]
fn a_lab_shows_few_files() {
    for lab in labs().1 {
        let mut sources = Vec::new();
        files_in(&lab.dir.join("src"), &mut sources);
        assert!(sources.len() <= MOST_FILES, "{sources:?}");
        let handout = fs::read_to_string(lab.dir.join("README.md")).unwrap();
        for source in sources {
            let shown = source.strip_prefix(&lab.dir).unwrap().display().to_string();
            assert!(handout.contains(&shown), "labs/{}/README.md does not name {shown}", lab.name);
        }
    }
}

/// A row per milestone: how many runs, and from the shortest of its scenarios to the longest.
#[test]
fn a_handout_says_what_a_grade_costs() {
    for lab in labs().1 {
        let handout = fs::read_to_string(lab.dir.join("README.md")).unwrap();
        for milestone in &lab.milestones {
            let starts = format!("| {} |", milestone.id);
            let row = handout.lines().find(|line| line.starts_with(&starts));
            let row = row.unwrap_or_else(|| panic!("no row on {} in {}", milestone.id, lab.name));
            let lasts = milestone.scenario.iter().map(|scenario| scenario.duration_ms);
            let [least, most] =
                [lasts.clone().min(), lasts.max()].map(|ms| ms.unwrap() as f64 / 1000.0);
            let lasts = match least == most {
                true => format!("{least:.1} s"),
                false => format!("{least:.1} to {most:.1} s"),
            };
            // The last two cells: "6, two of each scenario", and how long one lasts.
            let mut cells = row.trim_end_matches(" |").rsplit(" | ");
            assert_eq!(cells.next(), Some(&*lasts), "{}: {row}", lab.name);
            let runs = cells.next().and_then(|cell| cell.split(',').next());
            assert_eq!(runs, Some(&*milestone.runs.to_string()), "{}: {row}", lab.name);
        }
    }
}

fn files_in(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path().is_dir() {
            true => files_in(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}
