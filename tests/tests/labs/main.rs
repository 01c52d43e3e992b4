//! Every lab, proved as far as a few minutes go: by simulation, and by a few runs on processes. The
//! rest is `scripts/prove`.

use harness::labs;
use tests::{answers_are_here, lab, turn};

#[test]
fn every_gap_is_found_in_simulation_and_the_references_hold() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    for room in labs::ALL {
        let few = ["--no-wrong", "--schedules", "300", "--reference", "10", "--unoptimised"];
        let done = lab(&[&["audit", room.name, "--simulated"], &few[..]].concat());
        assert_eq!(done.code, 0, "{}: {}{}", room.name, done.stdout, done.stderr);
    }
}

#[test]
fn every_reference_passes_on_processes_and_every_starter_does_on_a_quiet_day() {
    if !answers_are_here() {
        return;
    }
    let _turn = turn();
    for room in labs::ALL {
        let done = lab(&["grade", room.name, "--variant", "reference", "--runs", "1"]);
        assert_eq!(done.code, 0, "{}: {}{}", room.name, done.stdout, done.stderr);
        assert!(done.stdout.contains("100 of 100 points"), "{}", done.stdout);
        let quiet = ["--variant", "starter", "--milestone", "quiet"];
        let done = lab(&[&["grade", room.name], &quiet[..]].concat());
        assert_eq!(done.code, 0, "{}: {}{}", room.name, done.stdout, done.stderr);
    }
}
