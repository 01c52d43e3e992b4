//! The linearizability checker against two others that share no code with it: one that tries every
//! order, and porcupine-rs. Random small histories, with timeouts, equal values, concurrent CAS.
//!
//! `HISTORIES=1000000 cargo test --release -p tests --test linearizable` tries a million of them.

use std::{env, fmt::Write as _, fs, time::Duration};

use harness::{
    checker::linearizable::{
        Action, Budget, NEVER, Operation, RanOut, Values, Verdict, cause, check,
    },
    history::values::{self, Model, ValueHistory},
};
use porcupine_rs as porcupine;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tests::{
    Done, lab,
    shapes::{Shape, knot},
    small::{apply, by_brute_force, coarser, draw},
};

fn histories() -> u64 {
    env::var("HISTORIES").map_or(20_000, |count| count.parse().expect("HISTORIES is a number"))
}

#[derive(Clone, Debug)]
struct Register;

/// An operation, and whether it returned.
#[derive(Clone, Debug)]
struct Step(Action, bool, Values);

impl porcupine::Model for Register {
    type State = Option<String>;
    type Op = Step;
    type Metadata = ();

    fn init() -> Option<String> {
        None
    }

    fn step(
        state: &Option<String>,
        Step(action, returned, values): &Step,
    ) -> (bool, Option<String>) {
        match apply(state, *action, values) {
            Some(after) => (true, after),
            // An operation that never returned may as well not have happened.
            None => (!returned, state.clone()),
        }
    }
}

/// Porcupine's verdict. It knows no operation that may not have happened at all, so one that never
/// returned is tried with and without.
fn by_porcupine(operations: &[Operation], values: &Values) -> bool {
    let open: Vec<usize> =
        (0..operations.len()).filter(|index| operations[*index].return_us == NEVER).collect();
    (0..1_u32 << open.len()).any(|choice| {
        let left_out = |index: usize| {
            open.iter().position(|it| *it == index).is_some_and(|bit| choice >> bit & 1 == 1)
        };
        let history: Vec<_> = (0..operations.len())
            .filter(|index| !left_out(*index))
            .map(|index| {
                let Operation { action, call_us, return_us, .. } = operations[index];
                porcupine::Operation::<Register> {
                    client_id: Some(index as u32),
                    call_time: call_us as i64,
                    return_time: return_us.min(1 << 40) as i64,
                    op: Step(action, return_us != NEVER, values.clone()),
                    metadata: None,
                }
            })
            .collect();
        porcupine::check_operations(&history)
    })
}

fn judged(operations: &[Operation], values: &Values) -> Verdict {
    check(&[operations.to_vec()], values, Budget::default())
}

/// What is said of a history that is wrong is true.
fn assert_cause(operations: &[Operation], values: &Values) {
    let mut values = values.clone();
    let found = cause(operations, &mut values);
    let wrong = operations[found.operation];
    assert_eq!(found.window_us.1, wrong.return_us);
    assert!(found.is_first && found.window_us.0 <= wrong.call_us, "{found:?}");
    // Of what else had returned by then, and what had not, some order is right.
    let mut before: Vec<Operation> = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        let had_returned = (operation.return_us, place) < (wrong.return_us, found.operation);
        let mut operation = *operation;
        if !had_returned {
            operation.return_us = NEVER;
            if let Action::Cas { told, .. } = &mut operation.action {
                *told = None;
            }
        }
        if operation.call_us <= wrong.return_us {
            before.push(operation);
        }
    }
    assert!(by_brute_force(&before, &values), "{found:?}: {operations:?}");
    let Some(place) = before.iter().position(|it| {
        (it.process, it.call_us, it.return_us) == (wrong.process, wrong.call_us, NEVER)
    }) else {
        panic!("it is one of them")
    };
    before[place] = wrong;
    assert!(!by_brute_force(&before, &values), "{found:?}: {operations:?}");
    for value in found.could_be {
        before[place].action = Action::Get(value);
        assert!(by_brute_force(&before, &values), "{value}: {operations:?}");
    }
}

#[test]
fn random_histories_are_judged_as_two_others_judge_them() {
    let mut random = StdRng::seed_from_u64(11);
    let (mut good, mut bad) = (0, 0);
    for number in 0..histories() {
        let (mut operations, values) = draw(&mut random, 7, 6);
        let touches = number % 2 == 1;
        if touches {
            coarser(&mut operations, &mut random);
        }
        let expected = by_brute_force(&operations, &values);
        if !touches && number % 20 == 0 {
            assert_eq!(by_porcupine(&operations, &values), expected, "{operations:?}");
        }
        match judged(&operations, &values) {
            Verdict::Linearizable => assert!(expected, "{number}: {operations:?}"),
            Verdict::NotLinearizable { .. } => {
                assert!(!expected, "{number}: {operations:?}");
                if number % 8 < 2 {
                    assert_cause(&operations, &values);
                }
            }
            Verdict::Undecided { .. } => panic!("{number}: undecided: {operations:?}"),
        }
        if expected { good += 1 } else { bad += 1 }
    }
    // Both kinds come up, or the test would prove little.
    assert!(good > histories() / 10 && bad > histories() / 10, "{good} good, {bad} bad");
}

#[test]
fn longer_histories_are_judged_as_porcupine_judges_them() {
    let mut random = StdRng::seed_from_u64(12);
    let (mut good, mut bad) = (0, 0);
    for number in 0..histories() / 20 {
        let (operations, values) = draw(&mut random, 30, 20);
        if operations.iter().filter(|it| it.return_us == NEVER).count() > 4 {
            continue;
        }
        let expected = by_porcupine(&operations, &values);
        let verdict = judged(&operations, &values);
        assert_eq!(verdict == Verdict::Linearizable, expected, "{number}: {operations:?}");
        assert!(!matches!(verdict, Verdict::Undecided { .. }), "{number}: {operations:?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}

#[test]
fn more_operations_at_once_than_one_word_holds_are_judged() {
    let mut values = Values::default();
    let same = values.number("same");
    let during = |action| Operation { process: 0, action, call_us: 0, return_us: 100 };
    // Put twice, so that it takes a search.
    let mut operations = vec![during(Action::Put(same)); 2];
    operations.extend(vec![during(Action::Get(same)); 300]);
    let verdict = check(&[operations], &values, Budget::default());
    assert_eq!(verdict, Verdict::Linearizable);
}

#[test]
fn operations_that_do_the_same_at_once_are_not_tried_in_every_order() {
    let mut values = Values::default();
    let text = values.number("a");
    let read = |count: usize, values: &mut Values| {
        let seen = values.number(&"a".repeat(count));
        Operation { process: 0, action: Action::Get(seen), call_us: 300, return_us: 310 }
    };
    // Each returns at a time of its own, so that none can stand for another by its times alone.
    let appends = (0..200_u64).map(|n| Operation {
        process: 1 + n as u32,
        action: Action::Append(text),
        call_us: n % 7,
        return_us: 20 + n,
    });
    let appends: Vec<_> = appends.collect();
    for (count, is_linearizable) in [(200, true), (199, false), (201, false)] {
        let operations = [&appends[..], &[read(count, &mut values)]].concat();
        let budget = Budget { steps: 100_000, ..Budget::default() };
        let verdict = check(&[operations], &values, budget);
        assert_eq!(verdict == Verdict::Linearizable, is_linearizable, "{count}: {verdict:?}");
        assert!(!matches!(verdict, Verdict::Undecided { .. }), "{count}: {verdict:?}");
    }
}

/// 1,000 operations of 50 clients on a register of 20 values, and 300 compare-and-sets of 30
/// clients on 5 values of which one in twenty times out.
const MANY_AT_ONCE: [Shape; 2] = [
    Shape { operations: 1_000, clients: 50, values: 20, ..Shape::REGISTER },
    Shape {
        operations: 300,
        clients: 30,
        timeouts: 5,
        puts: 0,
        cas: 10,
        values: 5,
        ..Shape::REGISTER
    },
];

fn drawn(shape: Shape, seed: u64) -> ValueHistory {
    parsed(&shape.draw(seed))
}

fn parsed(lines: &[serde_json::Value]) -> ValueHistory {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    values::parse(lines.join("\n").as_bytes(), "drawn".as_ref(), Model::Kv).unwrap()
}

#[test]
fn many_operations_at_once_on_few_values_are_judged() {
    for shape in MANY_AT_ONCE {
        let mut bad = 0;
        for seed in 0..5 {
            let good = drawn(shape, seed);
            let verdict = check(&good.keys, &good.values, Budget::default());
            assert_eq!(verdict, Verdict::Linearizable, "{shape:?}, seed {seed}");
            let changed = drawn(Shape { bad: true, ..shape }, seed);
            match check(&changed.keys, &changed.values, Budget::default()) {
                // Another answer may fit as well.
                Verdict::Linearizable => {}
                Verdict::NotLinearizable { .. } => bad += 1,
                undecided => panic!("{undecided:?}: {shape:?}, seed {seed}"),
            }
        }
        assert!(bad > 0, "{shape:?}");
    }
}

#[test]
fn a_budget_that_is_used_up_decides_nothing() {
    let hard = parsed(&knot());
    let verdict = |budget| check(&hard.keys, &hard.values, budget);
    let undecided = |ran_out| Verdict::Undecided { key: 0, ran_out };
    assert_eq!(verdict(Budget { steps: 1000, ..Budget::default() }), undecided(RanOut::Steps));
    let budget = Budget { memory_bytes: 1 << 16, ..Budget::default() };
    assert_eq!(verdict(budget), undecided(RanOut::Memory));
    let budget = Budget { time: Duration::ZERO, ..Budget::default() };
    assert_eq!(verdict(budget), undecided(RanOut::Time));
}

/// `lab check` on these lines.
fn checked(lines: &[&str], model: &str, more: &[&str]) -> Done {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    lab(&[&["check", file.to_str().unwrap(), "--model", model], more].concat())
}

const PUT: &str = concat!(
    r#"{"process":1,"op":"put","key":"x","value":"v1","#,
    r#""call_us":0,"return_us":10,"result":{"ok":true}}"#
);
const GET: &str =
    r#"{"process":2,"op":"get","key":"x","call_us":20,"return_us":30,"result":{"value":"v1"}}"#;
const NOTHING: &str =
    r#"{"process":2,"op":"get","key":"x","call_us":20,"return_us":30,"result":{"value":null}}"#;
const CAS: &str = concat!(
    r#"{"process":3,"op":"cas","key":"x","expected":"v1","value":"v2","#,
    r#""call_us":40,"return_us":null,"result":null}"#
);
const LATER: &str =
    r#"{"process":2,"op":"get","key":"x","call_us":50,"return_us":60,"result":{"value":"v2"}}"#;

#[test]
fn check_explains_what_fits_nowhere() {
    let right = checked(&[PUT, GET, CAS, LATER], "cas-register", &[]);
    assert_eq!((right.code, right.stdout.trim()), (0, "linearizable: 4 operations"));
    let wrong = checked(&[PUT, NOTHING], "kv", &[]);
    assert_eq!(wrong.code, 1, "{}", wrong.stdout);
    let said = wrong.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Process 2 read nothing of x (line 2"), "{said}");
    assert!(said.contains("it could have been \"v1\""), "{said}");
    let json = checked(&[PUT, NOTHING], "register", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (json["verdict"].as_str(), json["line"].as_u64()),
        (Some("not linearizable"), Some(2))
    );
}

#[test]
fn check_refuses_a_broken_file_with_the_line() {
    let early = GET.replace("30", "15");
    let unknown = GET.replace("\"get\"", "\"got\"");
    let overlapping = GET.replace("\"process\":2", "\"process\":1").replace("20", "5");
    let valueless = PUT.replace("\"value\":\"v1\",", "");
    for (line, model, part) in [
        ("{\"process\"", "kv", ":2: EOF"),
        (early.as_str(), "kv", ":2: return_us comes before call_us"),
        (unknown.as_str(), "kv", ":2: op \"got\" is unknown here; there is: get, put, append"),
        (CAS, "register", ":2: op \"cas\" is unknown here; there is: get, put"),
        (overlapping.as_str(), "kv", ":2: process 1 calls while its operation of line 1"),
        (
            valueless.replace(":0,", ":20,").replace(":10,", ":30,").as_str(),
            "kv",
            ":2: a put needs",
        ),
    ] {
        let done = checked(&[PUT, line], model, &[]);
        assert_eq!(done.code, 4, "{}", done.stdout);
        assert!(done.stderr.contains(part), "{part} is not in {}", done.stderr);
    }
}

#[test]
fn a_line_without_end_is_refused_in_bounded_memory() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("endless.jsonl");
    // Two gigabytes that take no room.
    fs::File::create(&file).unwrap().set_len(2 << 30).unwrap();
    let error = values::read(&file, Model::Kv).unwrap_err();
    assert!(format!("{error:#}").contains(":1: the line is longer than"), "{error:#}");
}

#[test]
fn histories_made_by_hand_are_judged_as_their_folders_say() {
    let folder = tests::root().join("tests/histories");
    let mut seen = String::new();
    for model in ["register", "cas-register", "kv", "lock"] {
        for (kind, code) in [("good", 0), ("bad", 1)] {
            let files = fs::read_dir(folder.join(model).join(kind)).expect("made by hand");
            for file in files.flatten() {
                let path = file.path();
                let done = lab(&["check", path.to_str().unwrap(), "--model", model]);
                assert_eq!(done.code, code, "{}: {}{}", path.display(), done.stdout, done.stderr);
                let _ = writeln!(seen, "{model}/{kind}");
            }
        }
    }
    assert!(seen.lines().count() >= 8, "{seen}");
}
