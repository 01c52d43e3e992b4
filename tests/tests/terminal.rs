//! What is printed: it fits the terminal, holds nothing that a terminal obeys, and whoever does not
//! read it to the end gets the same verdict.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

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
    let error = json!({ "message": {
        "level": "error", "message": message, "spans": [span], "rendered": format!("error: {message}\n"),
    } });
    let (said, cargo) = (checkout.path().join("said"), checkout.path().join("no-cargo"));
    fs::write(&said, error.to_string()).unwrap();
    fs::write(&cargo, format!("#!/bin/sh\ncat {}\nexit 101\n", said.display())).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command(arguments);
    command.current_dir(checkout.path()).env("CARGO", cargo);
    command
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
fn what_a_node_says_reaches_no_terminal_as_it_is() {
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
}
