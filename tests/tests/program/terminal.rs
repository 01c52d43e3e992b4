//! What is printed: it fits the terminal, holds nothing that a terminal obeys, and whoever does not
//! read it to the end gets the same verdict.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Done, checkout, command, fits, grade, lab, turn};

/// A history in which a value is read that was never written, under this key.
fn history(key: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.jsonl");
    let read = json!({
        "process": 1, "op": "get", "key": key, "call_us": 0, "return_us": 9,
        "result": { "ok": true, "value": "never written" },
    });
    fs::write(&file, read.to_string()).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

/// The exit code of a command whose output nobody reads, standard error neither.
fn unread(mut command: Command) -> Option<i32> {
    let closed = || io::pipe().unwrap().1;
    command.stdout(closed()).stderr(closed()).status().unwrap().code()
}

#[test]
fn a_closed_pipe_ends_the_printing_and_not_the_verdict() {
    let (_folder, file) = history("x");
    for (arguments, code) in [
        (&[][..], 0),
        (&["--help"], 0),
        (&["check", &file, "--model", "register"], 1),
        (&["check", &file, "--model", "register", "--json"], 1),
        (&["grade", "lok"], 4),
    ] {
        assert_eq!(unread(command(arguments)), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_grade_that_nobody_reads_is_written_all_the_same() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("grade.json");
    let retry = ["grade", "lock", "--variant", "starter", "--milestone", "retry", "--runs", "1"];
    let mut graded = command(&retry);
    graded.arg("--json").arg(&file);
    assert_eq!(unread(graded), Some(1));
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(report["milestones"][0]["verdict"], "wrong");
}

#[test]
fn a_full_disk_behind_the_output_is_told_and_no_verdict() {
    let (_folder, file) = history("x");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut check = command(&["check", &file, "--model", "register"]);
    let done: Done = check.stdout(full).stderr(Stdio::piped()).output().unwrap().into();
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("error: cannot print to standard output"), "{}", done.stderr);
}

#[test]
fn where_the_json_is_to_go_is_looked_at_before_anything_is_built() {
    let grade = ["grade", "lock", "--variant", "starter", "--milestone", "quiet", "--runs", "1"];
    for (file, words) in [("no/such/grade.json", "no folder no/such"), ("labs", "is a folder")] {
        let done = lab(&[&grade[..], &["--json", file]].concat());
        assert_eq!(done.code, 4, "{}", done.stderr);
        assert!(done.stderr.contains(words), "{}", done.stderr);
        assert!(!done.stderr.contains("building"), "{}", done.stderr);
    }
}

/// A command in a checkout of its own whose cargo compiles nothing: it says `message`, as the
/// compiler would, and fails.
fn in_checkout(checkout: &TempDir, arguments: &[&str], message: &str) -> Command {
    let span =
        json!({ "is_primary": true, "file_name": "labs/lock/src/lease.rs", "line_start": 7 });
    let rendered = format!("error: {message}\n");
    let error = json!({
        "manifest_path": checkout.path().join("labs/lock/Cargo.toml"),
        "message": {
            "level": "error", "message": message, "spans": [span], "rendered": rendered,
        },
    });
    let (said, cargo) = (checkout.path().join("said"), checkout.path().join("no-cargo"));
    fs::write(&said, error.to_string()).unwrap();
    fs::write(&cargo, format!("#!/bin/sh\ncat {}\nexit 101\n", said.display())).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command(arguments);
    command.current_dir(checkout.path()).env("CARGO", cargo);
    command
}

/// Grades what does not compile, in a checkout of its own.
fn grade_broken(checkout: &TempDir, more: &[&str]) {
    let arguments = [&["grade", "lock"], more].concat();
    let done: Done = in_checkout(checkout, &arguments, "no").output().unwrap().into();
    assert_eq!(done.code, 2, "{}{}", done.stdout, done.stderr);
}

fn overview(checkout: &TempDir) -> String {
    let done: Done = command(&[]).current_dir(checkout.path()).output().unwrap().into();
    assert_eq!(done.code, 0, "{}", done.stderr);
    // Whether lines are broken is not the point.
    done.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

const MILESTONES: [(&str, u32); 7] = [
    ("quiet", 10),
    ("retry", 15),
    ("expiry", 15),
    ("majority", 15),
    ("memory", 20),
    ("fencing", 15),
    ("stale-release", 10),
];

/// As if the learner's own lock had been graded in these milestones.
fn graded(checkout: &TempDir, folder: &str, verdicts: &[(&str, &str)]) {
    let milestone = |(id, verdict): &(&str, &str)| {
        let max = MILESTONES.iter().find(|(known, _)| known == id).unwrap().1;
        let points = if *verdict == "passed" { max } else { 0 };
        json!({ "id": id, "title": "", "points": points, "max_points": max, "verdict": verdict,
                "runs": [] })
    };
    let milestones: Vec<_> = verdicts.iter().map(milestone).collect();
    let points = |field: &str| milestones.iter().filter_map(|it| it[field].as_u64()).sum::<u64>();
    let grade = json!({
        "format": 1, "lab": "lock", "variant": "mine", "engine": "process",
        "score": points("points"), "max_score": points("max_points"), "wall_ms": 0,
        "build": { "ok": true, "wall_ms": 0, "errors": [] }, "milestones": milestones,
    });
    let dir = checkout.path().join("target/lab/runs").join(folder);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("grade.json"), grade.to_string()).unwrap();
}

/// All milestones, of which one is not passed.
fn all_but(open: &str) -> Vec<(&'static str, &'static str)> {
    let verdict = |id| if id == open { "wrong" } else { "passed" };
    MILESTONES.iter().map(|(id, _)| (*id, verdict(*id))).collect()
}

fn names(checkout: &TempDir) -> Vec<String> {
    let runs = fs::read_dir(checkout.path().join("target/lab/runs")).unwrap().flatten();
    let mut names: Vec<_> = runs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_newest_verdict_counts_whatever_the_clock_says() {
    let checkout = checkout();
    // Graded where it is tomorrow already, or before the clock was set back.
    let ahead = Timestamp::now().to_zoned(TimeZone::UTC).datetime() + 20.hours();
    let ahead = format!("{}-lock-mine", ahead.strftime("%Y%m%d-%H%M%S"));
    graded(&checkout, &ahead, &all_but("expiry"));
    assert!(overview(&checkout).contains("85 of 100"), "{}", overview(&checkout));
    grade_broken(&checkout, &[]);
    assert!(overview(&checkout).contains("0 of 100"), "{}", overview(&checkout));
    grade_broken(&checkout, &[]);
    let names = names(&checkout);
    assert_eq!((names.len(), &names[0]), (3, &ahead));
}

#[test]
fn folders_of_runs_are_named_by_the_time_in_utc() {
    let checkout = checkout();
    let mut grade = in_checkout(&checkout, &["grade", "lock"], "no");
    // Fourteen hours ahead.
    assert_eq!(grade.env("TZ", "XXX-14").output().unwrap().status.code(), Some(2));
    let name = &names(&checkout)[0];
    let time = DateTime::strptime("%Y%m%d-%H%M%S", &name[..15]).unwrap();
    let now = Timestamp::now().to_zoned(TimeZone::UTC).datetime();
    assert!(time <= now && time > now - 1.hour(), "{name} at {now}");
}

#[test]
fn grades_of_single_milestones_add_up() {
    let checkout = checkout();
    graded(&checkout, "20240101-000000-lock-mine", &all_but("expiry"));
    graded(&checkout, "20240101-000000-lock-mine-2", &[("expiry", "passed")]);
    graded(&checkout, "20240101-000001-lock-mine", &[("memory", "wrong")]);
    let seen = overview(&checkout);
    assert!(seen.contains("80 of 100") && seen.contains("--milestone memory"), "{seen}");
    // The harness's own failure says nothing.
    graded(&checkout, "20240101-000002-lock-mine", &[("expiry", "harness_error")]);
    assert!(overview(&checkout).contains("80 of 100"));
}

#[test]
fn many_grades_of_one_milestone_make_no_other_forgotten() {
    let checkout = checkout();
    graded(&checkout, "20240101-000000-lock-mine", &all_but("expiry"));
    for number in 0..40 {
        let folder = format!("20240102-0000{number:02}-lock-mine");
        graded(&checkout, &folder, &[("expiry", "wrong")]);
    }
    grade_broken(&checkout, &["--milestone", "expiry"]);
    let seen = overview(&checkout);
    assert!(seen.contains("85 of 100") && seen.contains("--milestone expiry"), "{seen}");
    // Thirty that failed, those that say how far the learner is, and the new one.
    assert_eq!(names(&checkout).len(), 33);
}

#[test]
fn what_is_perhaps_still_running_is_not_forgotten() {
    let checkout = checkout();
    let runs = checkout.path().join("target/lab/runs");
    for (day, hours_ago) in [(1, 23), (2, 25)] {
        let dir = runs.join(format!("2024010{day}-000000-lock-mine"));
        fs::create_dir_all(&dir).unwrap();
        let at = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
        fs::File::open(&dir).unwrap().set_modified(at).unwrap();
    }
    for number in 0..40 {
        let folder = format!("20240103-0000{number:02}-lock-mine");
        graded(&checkout, &folder, &[("expiry", "wrong")]);
    }
    grade_broken(&checkout, &[]);
    let names = names(&checkout);
    // It, thirty that failed, the one that says how far the learner is, and the new one.
    assert_eq!((names.len(), &*names[0]), (33, "20240101-000000-lock-mine"));
    assert!(names[1].starts_with("20240103"), "{}", names[1]);
}

/// What `lab` prints on a terminal that is so wide.
fn printed(arguments: &[&str], columns: usize) -> String {
    let done: Done =
        command(arguments).env("COLUMNS", columns.to_string()).output().unwrap().into();
    done.stdout
}

#[test]
fn what_is_printed_fits_the_terminal() {
    let (_folder, file) = history("a-key-of-a-certain-length");
    let check = ["check", &file, "--model", "register"];
    let verbs = ["grade", "audit", "explore", "shrink", "replay", "run", "check", "reset"];
    for columns in [40, 80] {
        fits(&printed(&[], columns), columns);
        fits(&printed(&check, columns), columns);
        fits(&printed(&["--help"], columns), columns);
        for verb in verbs {
            fits(&printed(&[verb, "--help"], columns), columns);
        }
    }
    // No terminal is as one of 80 columns.
    let bare = lab(&[]).stdout;
    assert_eq!(bare, printed(&[], 80));
}

#[test]
fn a_grade_fits_the_terminal() {
    let _turn = turn();
    let retry = ["grade", "lock", "--variant", "starter", "--milestone", "retry", "--runs", "1"];
    for columns in [40, 80] {
        let report = printed(&retry, columns);
        assert!(report.contains("promised:") && report.contains("  again:"), "{report}");
        fits(&report, columns);
    }
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(|it| it.is_control() && it != '\n') && !text.contains('\u{202e}')
}

const RUDE: &str = "x\u{1b}]0;title\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}y";

#[test]
fn keys_and_values_reach_no_terminal_as_they_are() {
    let (_folder, file) = history(RUDE);
    for more in [&[][..], &["--json"]] {
        let done = lab(&[&["check", &file, "--model", "register"], more].concat());
        assert_eq!(done.code, 1, "{}", done.stderr);
        assert!(is_clean(&done.stdout), "{:?}", done.stdout);
    }
    let (_folder, file) = history(&"very ".repeat(100_000));
    let done = lab(&["check", &file, "--model", "register"]);
    assert!(done.stdout.len() < 1000, "{}", done.stdout.len());
    assert!(done.stdout.contains("fits nowhere") && done.stdout.contains('…'), "{}", done.stdout);
}

#[test]
fn what_the_compiler_quotes_reaches_no_terminal_as_it_is() {
    let checkout = checkout();
    let message = format!("\u{1b}[31m{RUDE}\u{1b}[0m {}", "z".repeat(10 << 20));
    let file = checkout.path().join("grade.json");
    let mut grade = in_checkout(&checkout, &["grade", "lock"], &message);
    let done: Done = grade.arg("--json").arg(&file).output().unwrap().into();
    assert_eq!(done.code, 2, "{}", &done.stderr[..200]);
    assert!(is_clean(&done.stdout) && is_clean(&done.stderr), "{}", &done.stderr[..200]);
    assert!(done.stderr.len() < 100_000, "{}", done.stderr.len());
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let told = report["build"]["errors"][0]["message"].as_str().unwrap();
    assert!(is_clean(told) && told.chars().count() <= 500, "{told:?}");
}

#[test]
fn what_a_node_says_reaches_its_log_and_no_terminal_as_it_is() {
    let _turn = turn();
    let folder = tests::node_that(
        "println!(\"said \\u{1b}[31mso\"); panic!(\"\\u{1b}[2J{:?}\", vec![7; 4 << 20]);",
    );
    let quiet = ["--variant", tests::path(&folder), "--milestone", "quiet", "--runs", "1"];
    let (report, done) = grade(&quiet);
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert!(is_clean(&done.stdout) && is_clean(&done.stderr), "{:?}", done.stdout);
    let run = &report["milestones"][0]["runs"][0];
    let story = run["story"].as_str().unwrap();
    assert!(story.contains("panicked at labs/lock/src/voter.rs"), "{story}");
    assert!(is_clean(story) && story.chars().count() <= 500, "{}", story.len());
    let logs = Path::new(run["run_dir"].as_str().unwrap()).join("nodes");
    let mut logs = fs::read_dir(logs).unwrap().flatten();
    assert!(logs.any(|log| fs::read_to_string(log.path()).unwrap().contains("said \u{1b}[31mso")));
}
