//! Verdicts on real clusters: what passes, what is caught, what is broken, and what it says.

use std::fs;

use serde_json::Value;
use tests::{grade, lab, node_that, path, submission, turn, verdict};

#[test]
fn the_starter_passes_the_quiet_milestone_and_no_other() {
    let _turn = turn();
    let (report, done) = grade(&["--variant", "starter"]);
    assert_eq!(verdict(&report, "quiet"), "passed", "{}", done.stdout);
    for id in ["retry", "expiry", "majority", "memory", "fencing", "stale-release"] {
        assert!(["wrong", "slow"].contains(&verdict(&report, id)), "{id}: {}", done.stdout);
    }
    assert_eq!((report["score"].as_u64(), report["max_score"].as_u64()), (Some(10), Some(100)));
    assert_eq!(done.code, 1);
    for part in ["promised:", "happened:", "cargo lab replay", "10 of 100 points"] {
        assert!(done.stdout.contains(part), "{part} is not in\n{}", done.stdout);
    }

    // What is slow is repeated, until the milestone has failed without more of it.
    for milestone in report["milestones"].as_array().unwrap() {
        let runs = milestone["runs"].as_array().unwrap();
        let slow: Vec<_> = runs.iter().filter(|run| run["verdict"] == "slow").collect();
        let is_repeated = |run: &&Value| run["retries"].as_u64() >= Some(2);
        assert!(slow.len() <= 1 && slow.iter().all(is_repeated), "{milestone}");
    }

    // One command tries the failing schedule again, and its verdict comes again.
    let runs = report["milestones"][1]["runs"].as_array().unwrap();
    let failed = runs.iter().find(|run| run["verdict"] == "wrong").unwrap();
    assert!(failed["bites"]["drop_reply"]["bit"].as_u64() > Some(0), "{failed}");
    let run_dir = failed["run_dir"].as_str().unwrap();
    for file in ["run.json", "schedule.json", "history.jsonl", "messages.jsonl", "nodes/n1.log"] {
        assert!(fs::metadata(format!("{run_dir}/{file}")).unwrap().len() > 0, "{file}");
    }
    let replayed = lab(&["replay", run_dir]);
    assert_eq!(replayed.code, 0, "{}{}", replayed.stdout, replayed.stderr);
    assert!(replayed.stdout.contains("recorded: wrong"), "{}", replayed.stdout);
}

#[test]
fn code_that_does_not_compile_is_broken() {
    let _turn = turn();
    let folder = submission("lease.rs", |text| text.replace("lock.token += 1;", "lock.tokn += 1;"));
    let (report, done) = grade(&["--variant", path(&folder)]);
    assert_eq!((done.code, verdict(&report, "quiet")), (2, "broken"));
    let error = &report["build"]["errors"][0];
    assert_eq!(error["file"], "labs/lock/src/lease.rs");
    let sentence =
        format!("labs/lock does not compile: 1 error at labs/lock/src/lease.rs:{}", error["line"]);
    assert!(done.stderr.contains(&sentence), "{}", done.stderr);
    assert!(done.stderr.contains("no field `tokn`"), "{}", done.stderr);
}

fn broken_with(what: &str, parts: &[&str]) {
    let folder = node_that(what);
    let (report, done) =
        grade(&["--variant", path(&folder), "--milestone", "quiet", "--runs", "1"]);
    assert_eq!((done.code, verdict(&report, "quiet")), (2, "broken"), "{}", done.stdout);
    let story = report["milestones"][0]["runs"][0]["story"].as_str().unwrap();
    for part in parts {
        assert!(story.contains(part), "{part} is not in {story}");
    }
}

#[test]
fn a_node_that_falls_by_itself_is_broken_and_named() {
    let _turn = turn();
    // One node alone: of several that fall at once, whichever is seen first may be named.
    let n2 = |what| format!("if std::env::var(\"NODE_ID\").unwrap() == \"n2\" {{ {what} }}");
    broken_with(&n2("std::process::exit(3);"), &["n2 exited with status 3"]);
    let parts = ["n2 panicked at labs/lock/src/voter.rs", "no vote"];
    broken_with(&n2("panic!(\"no vote\");"), &parts);
    let later = "node::spawn(async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        panic!(\"too late\");
    });";
    broken_with(later, &["panicked at labs/lock/src/voter.rs", "too late"]);
}

#[test]
fn a_node_that_never_gets_ready_is_broken() {
    // It sleeps, so it is in nobody's way, and nobody waits for it.
    let forever = "std::thread::sleep(std::time::Duration::from_secs(600));";
    broken_with(forever, &["n1 was not ready 20 s after its start"]);
}

#[test]
fn a_node_that_answers_nothing_is_broken() {
    let _turn = turn();
    let folder = submission("lease.rs", |text| {
        text.replace("// GAP 2", "std::process::abort();\n    // GAP 2")
    });
    let (report, done) =
        grade(&["--variant", path(&folder), "--milestone", "quiet", "--runs", "1"]);
    assert_eq!((done.code, verdict(&report, "quiet")), (2, "broken"), "{}", done.stdout);
}

#[test]
fn a_service_that_stops_granting_is_slow() {
    let _turn = turn();
    // It frees nothing, whatever is released or runs out.
    let folder = submission("lease.rs", |text| {
        let text = text.replace("let frees = holder", "let frees = lock.token == 0 && holder");
        text.replace("voter.age_ms >= lease_ms", "voter.age_ms > lease_ms + u64::MAX / 2")
    });
    let (report, done) =
        grade(&["--variant", path(&folder), "--milestone", "quiet", "--runs", "1"]);
    assert_eq!((done.code, verdict(&report, "quiet")), (1, "slow"), "{}", done.stdout);
    assert_eq!(report["milestones"][0]["runs"][0]["retries"], 2);
}
