//! Bad input: one clear sentence with the place and what to do, the right exit code, nothing begun.

use std::{fs, os::unix::fs::symlink, path::Path};

use tempfile::TempDir;
use tests::{Done, command, lab, path, root, submission};

fn refused(done: &Done, parts: &[&str]) {
    assert_eq!(done.code, 4, "{}", done.stderr);
    let errors: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", done.stderr);
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {:?}", errors[0]);
    }
}

#[test]
fn names_that_do_not_exist_are_refused_with_those_that_do() {
    refused(&lab(&["grade", "lok"]), &["no lab \"lok\"", "lock"]);
    refused(&lab(&["grade", "lock", "--milestone", "memry"]), &["\"memry\"", "quiet", "memory"]);
    refused(&lab(&["grade", "lock", "--variant", "refrence"]), &["refrence", "wrong:NAME"]);
    refused(&lab(&["grade", "lock", "--variant", "gap:99"]), &["no gap 99"]);
    refused(&lab(&["grade", "lock", "--variant", "gap:x"]), &["gap:x"]);
    refused(&lab(&["grade", "lock", "--variant", "closed:1,99"]), &["no gap 99"]);
    refused(&lab(&["grade", "lock", "--variant", "closed:1;2"]), &["closed:1;2", "commas"]);
    refused(&lab(&["grade", "lock", "--variant", "wrong:none"]), &["\"none\"", "reentrant"]);
    refused(&lab(&["replay", "labs"]), &["labs", "not the folder of a run"]);
    refused(&lab(&["audit", "lok"]), &["lok"]);
    // Also beside one that there is.
    let done = lab(&["audit", "lock", "--variant", "gap:3", "--variant", "reentrant"]);
    refused(&done, &["\"reentrant\"", "wrong:reentrant"]);
    refused(&lab(&["reset", "lok"]), &["lok"]);
}

#[test]
fn a_mistake_in_the_arguments_is_no_verdict() {
    for arguments in [&["grade"][..], &["grade", "lock", "--runs", "0"], &["smash"]] {
        assert_eq!(lab(arguments).code, 4, "{arguments:?}");
    }
    assert_eq!(lab(&["--help"]).code, 0);
    for within in ["0", "86401", "18446744073709551615"] {
        let done = lab(&["check", "README.md", "--model", "kv", "--within", within]);
        refused(&done, &["--within", "1..=86400"]);
    }
}

#[test]
fn a_folder_without_the_gap_files_is_refused() {
    let folder = submission("lease.rs", |text| text);
    fs::remove_file(folder.path().join("voter.rs")).unwrap();
    let done = lab(&["grade", "lock", "--variant", path(&folder)]);
    refused(&done, &["src/voter.rs", "src/lease.rs, src/coordinator.rs"]);
}

/// A checkout that shares everything with this one but lab.toml.
fn checkout_with(lab_toml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let link = |name: &str| symlink(root().join(name), folder.path().join(name)).unwrap();
    fs::create_dir_all(folder.path().join("labs/lock")).unwrap();
    for name in ["harness", "proto", "labs/node", "labs/lock/src", "labs/lock/.starter"] {
        link(name);
    }
    fs::write(folder.path().join("labs/lock/lab.toml"), lab_toml).unwrap();
    folder
}

fn lab_in(folder: &Path) -> Done {
    let mut command = command(&["grade", "lock"]);
    command.current_dir(folder).output().unwrap().into()
}

#[test]
fn a_broken_lab_toml_is_refused_with_the_line() {
    let good = fs::read_to_string(root().join("labs/lock/lab.toml")).unwrap();
    for (from, to, parts) in [
        ("runs = 2", "runs = \"2\"", &["lab.toml:", "invalid type"][..]),
        ("timed = true", "tamed = true", &["lab.toml:", "tamed"]),
        ("points = 20", "points = 30", &["add up to 110"]),
        ("spread = 1\nfor_ms = [1, 5]", "spread = 0\nfor_ms = [1, 5]", &["spread"]),
        (
            "spread = 1\nfor_ms = [1, 5]",
            "spread = [9, 8]\nfor_ms = [1, 5]",
            &["spread", "[least, most]"],
        ),
        ("after = \"vote\"", "after = \"no-vote\"", &["no-vote"]),
        ("shape = \"bridge\"", "shape = \"fridge\"", &["lab.toml:", "fridge"]),
        ("same = \"name\"", "same = \"nome\"", &["requests have no field \"nome\""]),
        ("[[milestone]]\nid = \"quiet\"", "[[milestone]", &["lab.toml:"]),
        ("kind = \"kill\"\nnodes = \"all\"", "kind = \"explode\"", &["lab.toml:", "explode"]),
        (
            "reply = \"granted\"",
            "reply = \"grunted\"",
            &["scenario", "replies have no field \"grunted\""],
        ),
        ("\"one_holder\"", "\"two_holders\"", &["two_holders", "one_holder"]),
        ("granted_again = 1000", "granted_agin = 1000", &["granted_agin"]),
        ("workload = \"lock\"", "workload = \"luck\"", &["luck"]),
        ("locks = 2", "lucks = 2", &["lucks"]),
        ("nodes = 3", "nodes = 0", &["nodes"]),
        ("duration_ms = 2200", "duration_ms = 900", &["duration_ms = 900"]),
        ("calm_ms = [500, 1800]", "calm_ms = [500, 1700]", &["1800 ms"]),
        ("src/guard.rs", "src/gard.rs", &["gard.rs"]),
    ] {
        assert!(good.contains(from), "{from}");
        let folder = checkout_with(&good.replacen(from, to, 1));
        refused(&lab_in(folder.path()), parts);
        assert!(!folder.path().join("target").exists(), "{from}: something was begun");
    }
}

#[test]
fn outside_a_checkout_it_says_so() {
    let folder = TempDir::new().unwrap();
    refused(&lab_in(folder.path()), &["inside a checkout"]);
}

#[test]
fn reset_asks_first() {
    // Standard input is closed here, which is no yes.
    let before = fs::read_to_string(root().join("labs/lock/src/lease.rs")).unwrap();
    let done = lab(&["reset", "lock"]);
    assert_eq!(done.code, 0);
    assert!(
        done.stdout.contains("nothing to reset") || done.stdout.contains("Nothing was changed")
    );
    assert_eq!(fs::read_to_string(root().join("labs/lock/src/lease.rs")).unwrap(), before);
}

#[test]
fn lab_alone_shows_the_labs_and_the_next_command() {
    let done = lab(&[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("lock") && done.stdout.contains("cargo lab"), "{}", done.stdout);
}
