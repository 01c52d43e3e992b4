//! Faults on real clusters: each kind strikes, bites and is undone; one that hits nothing proves
//! nothing.

use std::{env, fs};

use harness::{
    build::{self, Program},
    cluster::warden::Warden,
    fabric::fault::Kind,
    grade::{
        ENGINE,
        run::{self, Inputs, Outcome, Plan},
    },
    lab::{Lab, Scenario},
    variant::Variant,
    verdict::Verdict,
    workspace::Workspace,
};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tests::{root, turn};

fn starter() -> Program {
    env::set_current_dir(root()).unwrap();
    let workspace = Workspace::find().unwrap();
    let lab = Lab::load(&workspace, "lock").unwrap();
    let warden = Warden::start().unwrap();
    let Ok(program) = build::build(&workspace, &lab, &Variant::Starter, build::Kind::Node, &warden)
    else {
        panic!("it builds")
    };
    program
}

/// One run of the starter in the storm of `faults`, as `lab.toml` would write them, and what else
/// it would say of the scenario before. Its only check is one that the starter passes while no node
/// forgets.
fn run(faults: &str, checks: &str) -> (Outcome, TempDir) {
    let text = format!(
        "name = \"test\"\nworkload = \"lock\"\nnodes = 3\nclients = 4\nduration_ms = 3400\n\
         calm_ms = [600, 1300]\nchecks = [{checks}]\noptions = {{ lease_ms = 300 }}\n{faults}"
    );
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let folder = TempDir::new().unwrap();
    let Program { path: program, fingerprint, .. } = starter();
    let inputs = Inputs {
        version: "test".into(),
        lab: "lock".into(),
        variant: "starter".into(),
        engine: ENGINE.into(),
        fingerprint,
        program,
        milestone: "test".into(),
        scenario: "test".into(),
        seed: 7,
        redraws: 0,
    };
    let plan = Plan { inputs, scenario, schedule: None, run_dir: folder.path().join("7") };
    (run::execute_alone(&plan, &Warden::start().unwrap()), folder)
}

#[test]
fn every_kind_of_fault_strikes_and_bites() {
    let _turn = turn();
    let (outcome, _folder) = run(
        r#"
        [[faults]]
        kind = "cut"
        for_ms = [200, 300]
        [[faults]]
        kind = "kill"
        for_ms = [50, 100]
        [[faults]]
        kind = "pause"
        nodes = "receiver"
        aim = { method = "Acquire" }
        for_ms = [100, 200]
        [[faults]]
        kind = "refuse"
        times = 3
        aim = { method = "Acquire" }
        [[faults]]
        kind = "hold"
        times = 3
        aim = { method = "Prepare" }
        for_ms = [50, 100]
        [[faults]]
        kind = "delay"
        times = 5
        aim = { method = "Prepare" }
        [[faults]]
        kind = "drop_request"
        times = 5
        aim = { method = "Accept", to = "n2" }
        [[faults]]
        kind = "drop_reply"
        times = 5
        aim = { method = "Release" }
        [[faults]]
        kind = "duplicate"
        times = 5
        aim = { method = "Acquire", phase = "reply" }
        "#,
        "\"one_holder\"",
    );
    assert_ne!(outcome.verdict, Verdict::Broken, "{}", outcome.story);
    assert_ne!(outcome.verdict, Verdict::HarnessError, "{}", outcome.story);
    for (kind, count) in [
        (Kind::Cut, 1),
        (Kind::Kill, 1),
        (Kind::Pause, 1),
        (Kind::Refuse, 3),
        (Kind::Hold, 3),
        (Kind::Delay, 5),
        (Kind::DropRequest, 5),
        (Kind::DropReply, 5),
        (Kind::Duplicate, 5),
    ] {
        let bites = outcome.bites[&kind];
        assert_eq!(bites.injected, count, "{kind}");
        assert!(bites.bit > 0, "{kind}: {bites:?}");
    }
}

#[test]
fn faults_that_hit_nothing_are_drawn_anew_and_then_prove_nothing() {
    let _turn = turn();
    // No client of this scenario writes to the guard.
    let faults = "[[faults]]\nkind = \"drop_reply\"\naim = { method = \"Write\" }";
    // Nothing is written, so nothing is written too late, however late the machine is.
    let (outcome, _folder) = run(faults, "\"fenced\"");
    assert_eq!(outcome.verdict, Verdict::Inconclusive, "{}", outcome.story);
    assert_eq!(outcome.retries, 3);
    assert!(
        outcome
            .story
            .contains("The scenario's fault 1, drop_reply at Write answered, was not injected"),
        "{}",
        outcome.story
    );
}

#[test]
fn nodes_start_apart_where_the_scenario_says_so() {
    let _turn = turn();
    let (outcome, folder) = run("apart_ms = 300", "\"one_holder\"");
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.story);
    // When each node begins to serve, by its log's first line.
    let began = ["n1", "n2", "n3"].map(|node| {
        let log = fs::read_to_string(folder.path().join(format!("7/nodes/{node}.log"))).unwrap();
        log.split(' ').next().unwrap().parse::<Timestamp>().unwrap()
    });
    // A machine that is busy with the first may start it late, and the others in time.
    let apart = began[2].duration_since(began[0]);
    assert!(apart > SignedDuration::from_millis(400), "{began:?}");
}
