//! What a grade does not have to try any more, and what it tries again.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tests::{answers_are_here, grade, lab, path, root, submission, turn, verdict};

/// The runs of the only milestone in a grade, and how many were spared.
fn runs(report: &Value) -> (&[Value], u64) {
    let milestone = &report["milestones"][0];
    (milestone["runs"].as_array().unwrap(), milestone["spared"].as_u64().unwrap())
}

#[test]
fn the_first_failure_decides_a_milestone() {
    let _turn = turn();
    let one_by_one = ["--variant", "starter", "--milestone", "retry", "--runs", "3", "--jobs", "1"];
    let (report, done) = grade(&one_by_one);
    let (made, spared) = runs(&report);
    assert_eq!((made.len(), spared, verdict(&report, "retry")), (1, 2, "wrong"));
    assert!(done.stdout.contains("0 of 1, 2 spared"), "{}", done.stdout);
    let (report, done) = grade(&[&one_by_one[..], &["--all"]].concat());
    let (made, spared) = runs(&report);
    assert_eq!((made.len(), spared, verdict(&report, "retry")), (3, 0, "wrong"));
    assert!(!done.stdout.contains("spared"), "{}", done.stdout);
}

/// The seeds that the newest audit of gap 2 has tried in the milestone that it is demanded of.
fn audited(arguments: &[&str]) -> Vec<String> {
    let gap = ["audit", "lock", "--demanded", "--variant", "gap:2", "--grades", "3"];
    let done = lab(&[&gap, arguments].concat());
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("wrong* 3"), "{}", done.stdout);
    let grades = fs::read_dir(root().join("target/lab/runs")).unwrap().flatten();
    let grades = grades.map(|entry| entry.path());
    let newest = grades.filter(|dir| dir.to_string_lossy().ends_with("-lock-gap-2")).max();
    let runs = fs::read_dir(newest.unwrap().join("retry")).unwrap().flatten();
    let mut seeds: Vec<_> = runs.map(|run| run.file_name().into_string().unwrap()).collect();
    seeds.sort();
    seeds
}

#[test]
fn grades_of_neighbouring_seeds_share_their_runs() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    // Four runs make a grade of this milestone.
    assert_eq!(audited(&["--all"]), ["1", "2", "3", "4", "5", "6"]);
    // One failure may decide all three.
    assert_eq!(audited(&["--jobs", "1"]).len(), 1);
}

/// A submission whose nodes answer nothing under one seed, and keep every processor busy meanwhile.
fn too_much_for_the_machine(seed: &str) -> TempDir {
    let what = format!(
        "static ONCE: std::sync::Once = std::sync::Once::new();
        if std::env::var(\"SEED\").unwrap() == \"{seed}\" {{
            ONCE.call_once(|| {{
                for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {{
                    std::thread::spawn(|| loop {{ std::hint::spin_loop() }});
                }}
                std::thread::sleep(std::time::Duration::from_secs(5));
            }});
        }}"
    );
    let asked = "    // GAP 2";
    submission("lease.rs", |text| text.replacen(asked, &format!("    {{ {what} }}\n{asked}"), 1))
}

#[test]
fn what_the_machine_was_too_busy_for_is_tried_again_where_that_may_decide_something() {
    let _turn = turn();
    let folder = too_much_for_the_machine("2");
    let retry = ["--variant", path(&folder), "--milestone", "retry"];
    // Its faults hit nothing either, but no other schedule could tell more: once more, alone.
    let (report, done) = grade(&[&retry[..], &["--seed", "2", "--runs", "1"]].concat());
    let run = &runs(&report).0[0];
    assert!(run["story"].as_str().unwrap().contains("The machine was busy"), "{run}");
    assert_eq!((done.code, run["retries"].as_u64()), (3, Some(1)), "{run}");
    // Beside it, another one fails.
    let (report, done) = grade(&[&retry[..], &["--runs", "2", "--jobs", "2"]].concat());
    let [first, second] = runs(&report).0 else { panic!("{}", done.stdout) };
    assert_eq!((&first["verdict"], &second["verdict"]), (&"wrong".into(), &"inconclusive".into()));
    assert_eq!((done.code, second["retries"].as_u64()), (1, Some(0)), "{second}");
}
