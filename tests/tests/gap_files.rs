//! Starter, reference and wrong answers fit together.

use std::{env, fs, path::PathBuf};

use harness::{
    gaps::GapFile,
    lab::Lab,
    variant::{Answers, starter},
    workspace::Workspace,
};
use tests::{answers_are_here, root};

fn lock() -> (Workspace, Lab) {
    env::set_current_dir(root()).expect("the checkout is there");
    let workspace = Workspace::find().expect("the tests run in a checkout");
    let lab = Lab::load(&workspace, "lock").expect("the lab can be read");
    (workspace, lab)
}

/// A learner who has mended the gaps still has a green `cargo test`; CI has the pristine files.
#[test]
fn the_working_tree_holds_the_starter() {
    if env::var_os("CI").is_none() {
        return eprintln!("skipped: outside CI the gap files are the learner's own");
    }
    let (_, lab) = lock();
    for (path, text) in starter(&lab).unwrap() {
        assert_eq!(fs::read_to_string(lab.dir.join(&path)).unwrap(), text, "{}", path.display());
    }
}

#[test]
fn starter_and_reference_differ_in_nothing_but_the_gaps() {
    if !answers_are_here() {
        return;
    }
    let (workspace, lab) = lock();
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
            assert!((1..=25).contains(&lines), "our solution of gap {number} has {lines} lines");
            numbers.push(*number);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn every_wrong_answer_changes_the_reference_and_names_its_milestone() {
    if !answers_are_here() {
        return;
    }
    let (workspace, lab) = lock();
    let answers = Answers::of(&workspace, &lab);
    let reference = answers.reference().unwrap();
    let names = answers.wrong_names();
    assert!(names.len() >= 5, "{names:?}");
    let mut seen = vec![reference.clone()];
    for name in names {
        let wrong = answers.wrong(&name).unwrap();
        lab.milestone(&wrong.caught_by).unwrap();
        let texts = wrong.applied(&reference).unwrap();
        assert!(!seen.contains(&texts), "{name} is no new answer");
        seen.push(texts);
    }
}

#[test]
fn the_lab_shows_at_most_six_files() {
    let (_, lab) = lock();
    let sources: Vec<PathBuf> =
        fs::read_dir(lab.dir.join("src")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(sources.len() <= 6, "{sources:?}");
}
