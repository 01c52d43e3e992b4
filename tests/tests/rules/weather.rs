//! When it is calm, and who is alone, by the faults that struck.

use harness::fabric::{
    fault::{Fault, Mode, Shape, Struck},
    weather::Weather,
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn weather(faults: &[(Fault, u64, u64)]) -> Weather {
    let struck = faults.iter().map(|(fault, at_us, until_us)| {
        let (at_us, until_us, fault) = (*at_us, *until_us, fault.clone());
        Struck { entry: 0, fault, at_us, until_us, message: None }
    });
    Weather::new(&struck.collect::<Vec<_>>(), &names(&["n1", "n2", "n3"]))
}

fn cut(node: &str, shape: Shape) -> Fault {
    Fault::Cut { nodes: names(&[node]), shape, mode: Mode::Silent }
}

#[test]
fn without_faults_all_is_calm() {
    assert_eq!(Weather::default().calm_from(7, 100), 7);
    assert!(!Weather::default().was_alone("n1", 0, 9));
}

#[test]
fn two_of_three_are_enough_for_calm_and_one_alone_is_not() {
    let kill = |nodes: &[&str]| Fault::Kill { nodes: names(nodes) };
    assert_eq!(weather(&[(kill(&["n2"]), 100, 200)]).calm_from(0, 500), 0);
    assert_eq!(weather(&[(kill(&["n2", "n3"]), 100, 200)]).calm_from(0, 500), 200);
    assert_eq!(weather(&[(kill(&["n2", "n3"]), 100, 200)]).calm_from(0, 50), 0);
    // Two faults, neither of which would do alone.
    let both = weather(&[(kill(&["n2"]), 100, 200), (kill(&["n3"]), 150, 300)]);
    assert_eq!(both.calm_from(120, 100), 200);
    assert!(both.was_alone("n1", 150, 199) && !both.was_alone("n1", 149, 180));
}

#[test]
fn a_bridge_is_calm_and_a_one_way_cut_is_not() {
    let bridge = weather(&[(cut("n3", Shape::Bridge), 0, 900)]);
    assert_eq!(bridge.calm_from(10, 100), 10);
    assert!(["n1", "n2", "n3"].iter().all(|node| !bridge.was_alone(node, 10, 20)));
    for shape in [Shape::Outgoing, Shape::Incoming] {
        let one_way = weather(&[(cut("n1", shape), 0, 900)]);
        assert_eq!(one_way.calm_from(10, 100), 900);
        assert!(one_way.was_alone("n1", 10, 20) && !one_way.was_alone("n2", 10, 20));
    }
    let two_way = weather(&[(cut("n1", Shape::Both), 0, 900)]);
    assert_eq!(two_way.calm_from(10, 100), 10);
    assert!(two_way.was_alone("n1", 10, 20));
    assert_eq!(two_way.well_from("n1", 10, 100), 900);
    assert_eq!(two_way.well_from("n2", 10, 100), 10);
}
