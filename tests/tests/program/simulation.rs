//! The simulation from the outside: the same run twice is the same, what fails is found and made
//! small, and code that hangs or panics is told by name.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use tests::{Done, fits, lab, node_that, path, root, turn};

/// Explores the lock lab by a program that is soon built: arguments and what came of it.
fn explore(arguments: &[&str]) -> Done {
    lab(&[&["explore", "lock", "--unoptimised"], arguments].concat())
}

/// Does what a report offers, by the same program.
fn lab_again(arguments: &[&str]) -> Done {
    lab(&[arguments, &["--unoptimised"]].concat())
}

/// The command that a report offers after `label`, without `cargo lab`.
fn offered<'a>(report: &'a str, label: &str) -> Vec<&'a str> {
    let line = report.lines().find_map(|line| line.trim().strip_prefix(label));
    let line = line.unwrap_or_else(|| panic!("no {label} in:\n{report}"));
    line.trim().strip_prefix("cargo lab ").unwrap().split_whitespace().collect()
}

fn verdict_of(dir: &str) -> Value {
    let text = fs::read_to_string(root().join(dir).join("verdict.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_was_found_is_repeated_and_made_small_and_is_told_to_hold_once_it_is_mended() {
    let _turn = turn();
    let found = explore(&["--variant", "wrong:new-token-for-owner"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let replayed = lab_again(&offered(&found.stdout, "again:"));
    assert_eq!(replayed.code, 0, "{}{}", replayed.stdout, replayed.stderr);
    assert!(replayed.stdout.contains("the same run, bit for bit"), "{}", replayed.stdout);

    fits(&found.stdout, 80);
    fits(&replayed.stdout, 80);
    let small = lab_again(&offered(&found.stdout, "smaller:"));
    fits(&small.stdout, 80);
    assert_eq!(small.code, 0, "{}{}", small.stdout, small.stderr);
    let dir = *offered(&small.stdout, "again:").last().unwrap();
    let plan = fs::read_to_string(root().join(dir).join("plan.json")).unwrap();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert!(plan["schedule"].as_array().unwrap().len() <= 4, "{}", small.stdout);
    assert_eq!(verdict_of(dir)["verdict"], "wrong");

    // As if the code had been mended since: the run passes, and is told as that.
    let run = root().join(dir).join("run.json");
    let inputs = fs::read_to_string(&run).unwrap();
    fs::write(run, inputs.replace("wrong:new-token-for-owner", "reference")).unwrap();
    let mended = lab_again(&["replay", dir]);
    assert_eq!(mended.code, 1, "{}{}", mended.stdout, mended.stderr);
    assert!(mended.stdout.contains("now:      passed"), "{}", mended.stdout);
}

#[test]
#[ignore = "builds the optimised simulation, which takes minutes: .ci/run does"]
fn an_optimised_simulation_is_the_same_run() {
    let _turn = turn();
    let held = lab(&["explore", "lock", "--variant", "reference", "--schedules", "200"]);
    assert_eq!(held.code, 0, "{}{}", held.stdout, held.stderr);
    assert!(held.stdout.contains("200 schedules") && held.stdout.contains("0 failed"));
    let found = lab(&["explore", "lock", "--variant", "wrong:new-token-for-owner"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let again = offered(&found.stdout, "again:");
    for replayed in [lab(&again), lab_again(&again)] {
        let stdout = &replayed.stdout;
        assert!(stdout.contains("the same run, bit for bit"), "{stdout}{}", replayed.stderr);
    }
}

#[test]
fn the_reference_holds_where_it_once_failed() {
    let _turn = turn();
    // Those who polled for a lock kept overtaking the client that was yet to be told of its grant.
    for seed in ["5236", "18191"] {
        let held = explore(&["--variant", "reference", "--seed", seed, "--schedules", "1"]);
        assert_eq!(held.code, 0, "{}{}", held.stdout, held.stderr);
    }
}

#[test]
fn a_seed_is_one_run_in_every_process() {
    let _turn = turn();
    let hashes = || -> Vec<String> {
        // A starter fails soon and often, and every failure is kept with its hash.
        let found = explore(&["--variant", "starter", "--schedules", "12", "--all", "--jobs", "1"]);
        assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
        let again = *offered(&found.stdout, "again:").last().unwrap();
        let dir = root().join(again).parent().unwrap().parent().unwrap().to_owned();
        let mut hashes: Vec<_> = kept(&dir).collect();
        hashes.sort();
        hashes
    };
    let first = hashes();
    assert!(first.len() >= 6, "{first:?}");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "seeds share a run");
    assert_eq!(first, hashes());
}

/// The hashes of all runs kept below `dir`.
fn kept(dir: &Path) -> impl Iterator<Item = String> {
    let milestones = fs::read_dir(dir).unwrap().flatten();
    let runs = milestones.flat_map(|it| fs::read_dir(it.path()).into_iter().flatten().flatten());
    runs.map(|run| {
        let text = fs::read_to_string(run.path().join("verdict.json")).unwrap();
        let verdict: Value = serde_json::from_str(&text).unwrap();
        format!("{} {}", verdict["seed"], verdict["hash"])
    })
}

#[test]
fn nodes_that_write_files_are_simulated_alike_and_forget_what_was_not_saved() {
    let _turn = turn();
    let held = explore(&["--variant", "reference", "--disk", "sled", "--schedules", "25"]);
    assert_eq!(held.code, 0, "{}{}", held.stdout, held.stderr);
    // A vote that is saved after it was given is lost in a crash.
    let memory = &["--variant", "gap:5", "--milestone", "memory"][..];
    let found = explore(&[memory, &["--disk", "sled"]].concat());
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let again = offered(&found.stdout, "again:");
    let replayed = lab_again(&again);
    assert!(replayed.stdout.contains("the same run, bit for bit"), "{}", replayed.stdout);
    // What the nodes logged is kept with the run.
    let log = root().join(again.last().unwrap()).join("nodes/n1.log");
    assert!(fs::read_to_string(log).unwrap().contains("serving"));
}

#[test]
fn what_cannot_be_explored_or_made_small_is_refused_in_a_sentence() {
    let _turn = turn();
    for (arguments, words) in [
        (&["explore", "lok"][..], &["no lab \"lok\"", "lock"][..]),
        (&["explore", "lock", "--milestone", "x"], &["no milestone \"x\"", "memory"]),
        (&["explore", "lock", "--variant", "gap:99"], &["no gap 99"]),
        (&["explore", "lock", "--schedules", "0"], &["--schedules"]),
        (&["explore", "lock", "--disk", "floppy"], &["--disk", "sled"]),
        (&["shrink", "no-such-folder"], &["no-such-folder", "run"]),
    ] {
        let done = lab(arguments);
        assert_eq!(done.code, 4, "{arguments:?}\n{}{}", done.stdout, done.stderr);
        assert!(words.iter().all(|word| done.stderr.contains(word)), "{}", done.stderr);
    }
}

fn explored(submission: &TempDir) -> Done {
    explore(&["--variant", path(submission), "--schedules", "50"])
}

#[test]
fn code_that_hangs_or_panics_is_broken_and_named() {
    let _turn = turn();
    for (code, words) in [
        (
            // The compiler shows the line, with a warning on what comes after it.
            "println!(\"said {}\", \"so\"); eprintln!(\"and {}\", \"so\"); panic!(\"no vote\");",
            &["panicked at labs/lock/src/voter.rs", "no vote"][..],
        ),
        ("loop { std::hint::spin_loop(); }", &["hangs since", "busy loop"]),
        ("tokio::spawn(async {});", &["started a task by tokio at labs/lock/src/voter.rs"]),
        // Whatever the code: our own programs exit with 4 when they failed themselves.
        ("std::process::exit(4);", &["ended the whole simulation", "exit status: 4"]),
    ] {
        let done = explored(&node_that(code));
        assert_eq!(done.code, 2, "{code}\n{}{}", done.stdout, done.stderr);
        let story = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.iter().all(|word| story.contains(word)), "{code}\n{story}");
        if code.contains("println") {
            // What is printed is no report, reaches no terminal, and is kept with the run.
            assert!(!done.stderr.contains("and so"), "{}", done.stderr);
            let run = root().join(offered(&done.stdout, "again:").last().unwrap());
            let logs = fs::read_dir(run.join("nodes")).unwrap().flatten();
            let logs: Vec<_> = logs.map(|log| fs::read_to_string(log.path()).unwrap()).collect();
            assert!(logs.iter().any(|log| log.contains("said so\nand so\n")), "{logs:?}");
        }
    }
}
