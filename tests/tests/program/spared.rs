//! What a grade does not have to try any more, and what it tries again.

use std::{env, fs};

use harness::{
    cluster::warden::Warden,
    grade::{self, Request, Watcher, run::Outcome},
    lab::{Lab, Milestone},
    variant::Variant,
    verdict::Verdict,
    workspace::Workspace,
};
use serde_json::Value;
use tempfile::TempDir;
use tests::{answers_are_here, fits, grade, lab, path, root, submission, turn, verdict};

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
    let mut names: Vec<_> = runs.map(|run| run.file_name().into_string().unwrap()).collect();
    names.sort();
    // Repetitions alone say so in their names.
    names.retain(|name| name.parse::<u64>().is_ok());
    names
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

#[test]
fn an_audit_looks_for_what_any_milestone_may_catch_until_one_has() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    let done = lab(&["audit", "lock", "--demanded", "--variant", "gap:1"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let lines = done.stdout.lines().skip_while(|line| *line != "gap:1").skip(1);
    let row: Vec<_> = lines.take_while(|line| line.starts_with("  ")).collect();
    let row = row.join(" ");
    let said: Vec<_> = row.split(';').collect();
    // Most often the first of seven has, and if not, the second or the third.
    let is_caught = |said: &&str| [" wrong ", " slow "].iter().any(|word| said.contains(word));
    assert_eq!(said.iter().position(is_caught), Some(said.len() - 1), "{row}");
    assert!(said.len() < 7, "{row}");
    fits(&done.stdout, 80);
}

struct Nobody;

impl Watcher for Nobody {
    fn building(&self) {}
    fn running(&self, _: usize) {}
    fn ran(&self, _: &Milestone, _: &Outcome) {}
    fn spared(&self) {}
}

/// A submission whose nodes do `what` under one seed when they are asked for a lock.
fn submission_that(what: &str, seed: u64) -> TempDir {
    let asked = "    // GAP 2";
    let what = format!("if std::env::var(\"SEED\").unwrap() == \"{seed}\" {{ {what} }}");
    submission("lease.rs", |text| text.replacen(asked, &format!("    {what}\n{asked}"), 1))
}

#[test]
fn what_is_spared_has_failed_in_every_grade_that_it_counts_in() {
    let _turn = turn();
    env::set_current_dir(root()).unwrap();
    let workspace = Workspace::find().unwrap();
    let lab = Lab::load(&workspace, "lock").unwrap();
    let folder = submission_that("std::process::exit(3)", 0);
    // Seeds begin anew after the last one: four grades of two runs each, and two have the wrong
    // one.
    let mut request = Request {
        variant: Variant::Folder(folder.path().to_owned()),
        milestones: vec!["quiet".into()],
        seed: u64::MAX,
        runs: Some(2),
        grades: 4,
        all: false,
        jobs: 1,
    };
    for (all, seeds) in [(false, &[0, 1, 2, 3][..]), (true, &[0, 1, 2, 3, u64::MAX])] {
        request.all = all;
        let warden = Warden::start().unwrap();
        let (graded, _) = grade::grade(&workspace, &lab, &request, &warden, &Nobody).unwrap();
        let made: Vec<_> = graded.milestones[0].runs.iter().map(|run| run.seed).collect();
        assert_eq!((&made[..], graded.milestones[0].spared), (seeds, 5 - seeds.len()));
        let verdicts = request.verdicts(lab.milestone("quiet").unwrap(), &graded.milestones[0]);
        use Verdict::{Broken, Passed};
        assert_eq!(verdicts, [Broken, Broken, Passed, Passed]);
    }
}

/// A submission whose nodes answer nothing under seed 2, and keep every processor busy after a
/// while.
fn too_much_for_the_machine() -> TempDir {
    let what = "static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let sleep = |ms| std::thread::sleep(std::time::Duration::from_millis(ms));
            sleep(1500);
            for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
                std::thread::spawn(|| loop { std::hint::spin_loop() });
            }
            sleep(3500);
        });
        // Whatever it grants later might be wrong.
        return Err(Outcome::Held(Held { by: String::new(), retry_after_ms: RETRY_AFTER_MS }));";
    submission_that(what, 2)
}

#[test]
fn what_the_machine_was_too_busy_for_is_tried_again_where_that_may_decide_something() {
    let _turn = turn();
    let folder = too_much_for_the_machine();
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
