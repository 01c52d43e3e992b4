//! The linearizability checker against two others that share no code with it: one that tries every
//! order, and porcupine-rs. Random small histories, with timeouts, equal values, concurrent CAS.
//!
//! `HISTORIES=1000000 cargo test --release -p tests --test linearizable` tries a million of them.

use std::{env, fmt::Write as _, fs};

use harness::{
    checker::linearizable::{
        ABSENT, Action, Budget, Cas, NEVER, Operation, Values, Verdict, check,
    },
    history::values::{self, Model},
};
use porcupine_rs as porcupine;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;
use tests::{Done, lab};

fn histories() -> u64 {
    env::var("HISTORIES").map_or(20_000, |count| count.parse().expect("HISTORIES is a number"))
}

/// What an operation does to a value, on plain texts.
fn apply(before: &Option<String>, action: Action, values: &Values) -> Option<Option<String>> {
    let text = |value: u32| values.text(value).map(str::to_owned);
    match action {
        Action::Get(seen) => (text(seen) == *before).then(|| before.clone()),
        Action::Put(value) => Some(text(value)),
        Action::Delete => Some(None),
        Action::Append(value) => {
            Some(Some(before.clone().unwrap_or_default() + &text(value).unwrap_or_default()))
        }
        Action::Cas { expected, new, told } => {
            let fits = text(expected) == *before;
            match told {
                Some(Cas::Done) => fits.then(|| text(new)),
                Some(Cas::Mismatch(seen)) => {
                    let told = seen.is_none_or(|seen| text(seen) == *before);
                    (!fits && told).then(|| before.clone())
                }
                None => Some(if fits { text(new) } else { before.clone() }),
            }
        }
    }
}

/// Tries every order.
fn by_brute_force(operations: &[Operation], values: &Values) -> bool {
    fn go(left: &mut Vec<Operation>, value: &Option<String>, values: &Values) -> bool {
        if left.iter().all(|it| it.return_us == NEVER) {
            return true;
        }
        let first_return_us = left.iter().map(|it| it.return_us).min().unwrap_or(NEVER);
        for index in 0..left.len() {
            if left[index].call_us > first_return_us {
                continue;
            }
            let operation = left.remove(index);
            let after = match operation {
                // It never learned what it read, so it read anything.
                Operation { action: Action::Get(_), return_us: NEVER, .. } => Some(value.clone()),
                _ => apply(value, operation.action, values),
            };
            let works = after.is_some_and(|after| go(left, &after, values));
            left.insert(index, operation);
            if works {
                return true;
            }
        }
        false
    }
    go(&mut operations.to_vec(), &None, values)
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
                let Operation { action, call_us, return_us } = operations[index];
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

fn draw_action(random: &mut StdRng, texts: &[u32], fresh: &mut dyn FnMut() -> u32) -> Action {
    let any = |random: &mut StdRng| *[&[ABSENT], texts].concat().choose(random).expect("some");
    let mut value = |random: &mut StdRng| match random.random_range(0..2) {
        0 => *texts.choose(random).expect("some"),
        _ => fresh(),
    };
    match random.random_range(0..10) {
        0..4 => Action::Get(any(random)),
        4..7 => Action::Put(value(random)),
        7 => Action::Append(*texts.choose(random).expect("some")),
        8 => {
            let told = match random.random_range(0..4) {
                0 | 1 => Some(Cas::Done),
                2 => Some(Cas::Mismatch(None)),
                _ => Some(Cas::Mismatch(Some(any(random)))),
            };
            Action::Cas { expected: any(random), new: value(random), told }
        }
        _ => Action::Delete,
    }
}

/// A small history that might have happened, or nearly: half of the answers come from running the
/// operations one after the other at random moments.
fn draw(random: &mut StdRng, most: u64, one_times_out_of: u32) -> (Vec<Operation>, Values) {
    let mut values = Values::default();
    let texts = ["a", "b", "ab"].map(|text| values.number(text));
    let kinds = random.random_range(0..3);
    let count = random.random_range(1..=most);
    let mut moments: Vec<u64> = (0..3 * count).collect();
    let mut fresh_number = 0;
    let mut operations = Vec::new();
    for _ in 0..count {
        // Not too far from each other, or everything would be concurrent.
        let near = random.random_range(0..moments.len());
        let mut take = || moments.remove(near.min(moments.len() - 1) / random.random_range(1..=2));
        let mut times = [take(), take(), take()];
        times.sort_unstable();
        let mut fresh = || {
            fresh_number += 1;
            values.number(&format!("w{fresh_number}"))
        };
        let action = loop {
            let action = draw_action(random, &texts, &mut fresh);
            let allowed = match kinds {
                0 => matches!(action, Action::Get(_) | Action::Put(_)),
                1 => matches!(action, Action::Get(_) | Action::Put(_) | Action::Cas { .. }),
                _ => true,
            };
            if allowed {
                break action;
            }
        };
        operations.push((times[1], Operation { action, call_us: times[0], return_us: times[2] }));
    }
    if random.random_range(0..4) > 0 {
        answer_truly(&mut operations, &mut values);
    }
    let mut operations: Vec<Operation> = operations.into_iter().map(|(_, it)| it).collect();
    for operation in &mut operations {
        if random.random_range(0..one_times_out_of) == 0 {
            operation.return_us = NEVER;
            if let Action::Cas { told, .. } = &mut operation.action {
                *told = None;
            }
        }
    }
    (operations, values)
}

/// Replaces what was told by what a register tells that does each at its moment.
fn answer_truly(operations: &mut [(u64, Operation)], values: &mut Values) {
    operations.sort_by_key(|(moment, _)| *moment);
    let mut value = None;
    for (_, operation) in operations {
        let now = value.as_ref().map_or(ABSENT, |text: &String| values.number(text));
        match &mut operation.action {
            Action::Get(seen) => *seen = now,
            Action::Cas { expected, told, .. } => {
                *told = Some(match *expected == now {
                    true => Cas::Done,
                    false => Cas::Mismatch(Some(now)),
                });
            }
            _ => {}
        }
        value = apply(&value, operation.action, values).expect("it was answered truly");
    }
}

#[test]
fn random_histories_are_judged_as_two_others_judge_them() {
    let mut random = StdRng::seed_from_u64(11);
    let (mut good, mut bad) = (0, 0);
    for number in 0..histories() {
        let (operations, values) = draw(&mut random, 7, 6);
        let expected = by_brute_force(&operations, &values);
        if number % 20 == 0 {
            assert_eq!(by_porcupine(&operations, &values), expected, "{operations:?}");
        }
        let verdict =
            check(std::slice::from_ref(&operations), &mut values.clone(), Budget::default());
        match verdict {
            Verdict::Linearizable => assert!(expected, "{number}: {operations:?}"),
            Verdict::NotLinearizable(found) => {
                assert!(!expected, "{number}: {operations:?}");
                assert!(found.operation < operations.len());
                assert!(found.window_us.0 <= found.window_us.1);
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
        let verdict =
            check(std::slice::from_ref(&operations), &mut values.clone(), Budget::default());
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
    let during = |action| Operation { action, call_us: 0, return_us: 100 };
    // Put twice, so that it takes a search.
    let mut operations = vec![during(Action::Put(same)); 2];
    operations.extend(vec![during(Action::Get(same)); 300]);
    let verdict = check(&[operations], &mut values, Budget::default());
    assert_eq!(verdict, Verdict::Linearizable);
}

#[test]
fn operations_that_do_the_same_at_once_are_not_tried_in_every_order() {
    let mut values = Values::default();
    let text = values.number("a");
    let read = |count: usize, values: &mut Values| {
        let seen = values.number(&"a".repeat(count));
        Operation { action: Action::Get(seen), call_us: 300, return_us: 310 }
    };
    // Each returns at a time of its own, so that none can stand for another by its times alone.
    let appends = (0..200_u64).map(|n| Operation {
        action: Action::Append(text),
        call_us: n % 7,
        return_us: 20 + n,
    });
    let appends: Vec<_> = appends.collect();
    for (count, is_linearizable) in [(200, true), (199, false), (201, false)] {
        let operations = [&appends[..], &[read(count, &mut values)]].concat();
        let budget = Budget { steps: 100_000, ..Budget::default() };
        let verdict = check(&[operations], &mut values, budget);
        assert_eq!(verdict == Verdict::Linearizable, is_linearizable, "{count}: {verdict:?}");
        assert!(!matches!(verdict, Verdict::Undecided { .. }), "{count}: {verdict:?}");
    }
}

#[test]
fn a_budget_that_is_used_up_decides_nothing() {
    let mut values = Values::default();
    let texts: Vec<u32> = (0..12).map(|n| values.number(&format!("v{n}"))).collect();
    // Everything at once, and a read of what cannot be: every order must be tried.
    let mut operations: Vec<Operation> = texts
        .iter()
        .map(|text| Operation { action: Action::Append(*text), call_us: 0, return_us: 100 })
        .collect();
    let never = values.number("never");
    operations.push(Operation { action: Action::Get(never), call_us: 50, return_us: 60 });
    let budget = Budget { steps: 1000, ..Budget::default() };
    assert!(matches!(check(&[operations], &mut values, budget), Verdict::Undecided { .. }));
}

/// `lab check` on these lines.
fn checked(lines: &[&str], model: &str, more: &[&str]) -> Done {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    lab(&[&["check", file.to_str().unwrap(), "--model", model], more].concat())
}

const PUT: &str = r#"{"process":1,"op":"put","key":"x","value":"v1","call_us":0,"return_us":10,"result":{"ok":true}}"#;
const GET: &str =
    r#"{"process":2,"op":"get","key":"x","call_us":20,"return_us":30,"result":{"value":"v1"}}"#;
const NOTHING: &str =
    r#"{"process":2,"op":"get","key":"x","call_us":20,"return_us":30,"result":{"value":null}}"#;
const CAS: &str = r#"{"process":3,"op":"cas","key":"x","expected":"v1","value":"v2","call_us":40,"return_us":null,"result":null}"#;
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
    assert!(said.contains("could only be \"v1\""), "{said}");
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
