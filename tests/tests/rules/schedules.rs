//! How schedules are drawn: the same from the same seed, each fault in its place.

use harness::fabric::{
    fault::{Aim, Kind, Phase, RECEIVER, SENDER, Trigger},
    schedule::{FaultSpec, NamedNodes, Nodes, Spread, draw},
};

fn specs() -> Vec<FaultSpec> {
    let mut file: toml::Table = toml::from_str(
        r#"faults = [
            { kind = "kill", times = 5, nodes = 2, for_ms = [100, 400] },
            { kind = "drop_reply", times = 5, aim = { method = "Acquire", reply = "granted" } },
        ]"#,
    )
    .unwrap();
    file.remove("faults").unwrap().try_into().unwrap()
}

#[test]
fn one_seed_draws_one_schedule() {
    let nodes = ["n1", "n2", "n3"].map(String::from);
    let draw = |seed| draw(&specs(), &nodes, [500, 2000], seed);
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn both_ends_of_a_message_can_be_meant() {
    let aim = Some(Aim::at("Accept".into()));
    let spec =
        FaultSpec { aim, nodes: Nodes::Named(NamedNodes::Both), ..FaultSpec::of(Kind::Kill) };
    let drawn = draw(&[spec], &["n1", "n2", "n3"].map(String::from), [0, 1000], 1);
    assert_eq!(drawn[0].fault.nodes(), [SENDER, RECEIVER]);
}

#[test]
fn what_follows_another_fault_strikes_so_many_times_for_each_of_its_strikes() {
    let aimed = |kind| FaultSpec { aim: Some(Aim::at("A".into())), ..FaultSpec::of(kind) };
    let first = FaultSpec { id: Some("first".into()), times: 2, ..aimed(Kind::Kill) };
    let after = Some("first".into());
    let later = FaultSpec { after, times: 3, spread: Spread::UpTo(1), ..aimed(Kind::DropRequest) };
    let drawn = draw(&[first, later], &["n1".to_owned()], [0, 1000], 1);
    let counted = drawn[2..].iter().map(|entry| match &entry.when {
        Trigger::Message { nth, after, .. } => (*after, *nth),
        Trigger::AtMs(_) => unreachable!("they have an aim"),
    });
    let of = |entry| [1, 2, 3].map(|nth| (Some(entry), nth));
    assert_eq!(counted.collect::<Vec<_>>(), [of(0), of(1)].concat());
}

#[test]
fn every_fault_falls_into_the_window_and_on_a_message_of_its_own() {
    let nodes = ["n1", "n2", "n3"].map(String::from);
    for seed in 0..200 {
        let mut last_nth = 0;
        for entry in draw(&specs(), &nodes, [500, 2000], seed) {
            match entry.when {
                Trigger::AtMs(at_ms) => {
                    assert!(at_ms >= 500 && at_ms + entry.for_ms <= 2000);
                    assert_eq!(entry.fault.nodes().len(), 2);
                }
                Trigger::Message { aim, nth, .. } => {
                    assert_eq!(aim.phase, Phase::Reply);
                    assert!(nth > last_nth);
                    last_nth = nth;
                }
            }
        }
    }
}
