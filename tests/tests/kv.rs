//! The key-value lab from the outside: its reference holds, its starter does not, and what fails is
//! found in simulation and is the same run again.

use tests::{answers_are_here, lab, turn};

#[test]
fn the_reference_passes_and_the_starter_does_on_a_quiet_day() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    let done = lab(&["grade", "kv", "--variant", "reference"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("100 of 100 points"), "{}", done.stdout);
    let done = lab(&["grade", "kv", "--variant", "starter", "--milestone", "quiet"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

#[test]
fn whoever_goes_from_gap_to_gap_sees_each_promise_kept_in_its_turn() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    let turns = [
        ("closed:1,2", "durability"),
        ("closed:1,2,4", "election"),
        ("closed:1,2,3,4", "commit"),
        ("closed:1,2,3,4,5", "repair"),
        ("closed:1,2,3,4,5,6", "exactly-once"),
        ("closed:1,2,3,4,5,6,7", "reads"),
        ("closed:1,2,3,4,5,6,7,8", "snapshots"),
    ];
    for (variant, milestone) in turns {
        let done = lab(&["grade", "kv", "--variant", variant, "--milestone", milestone]);
        assert_eq!(done.code, 0, "{variant}: {}{}", done.stdout, done.stderr);
    }
}

#[test]
fn simulated_elections_logs_and_deaf_nodes_are_weathered_by_the_reference() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    for milestone in ["repair", "availability"] {
        let done = lab(&[
            "explore",
            "kv",
            "--variant",
            "reference",
            "--milestone",
            milestone,
            "--schedules",
            "25",
        ]);
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    }
}

#[test]
fn an_append_that_truncates_is_found_in_simulation_and_repeated_bit_for_bit() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    let found = lab(&["explore", "kv", "--variant", "wrong:truncates-on-every-append"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let again = found.stdout.lines().find_map(|line| line.trim().strip_prefix("again:")).unwrap();
    let replay: Vec<_> = again.trim().strip_prefix("cargo lab ").unwrap().split(' ').collect();
    let replayed = lab(&replay);
    assert!(replayed.stdout.contains("the same run, bit for bit"), "{}", replayed.stdout);
}
