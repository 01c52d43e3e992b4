//! How long the linearizability checker takes, parse and check apart, beside porcupine-rs: on one
//! core, and on all.
//!
//! `cargo bench -p tests --bench checker` measures. Without cargo's `--bench` a few small histories
//! only show that it still works. Nothing is asserted about time: machines differ.

use std::{
    env, fs,
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    checker::linearizable::{
        ABSENT, Action, Budget, Cas, NEVER, Operation, Values, Verdict, check,
    },
    history::values::{self, Model},
};
use porcupine_rs as porcupine;
use serde_json::json;
use tests::shapes::Shape;

/// A shape of history, and what is hoped for.
#[derive(Clone)]
struct Case {
    name: &'static str,
    target: &'static str,
    shape: Shape,
    /// How many histories of this shape.
    times: u64,
}

const REGISTER: Shape = Shape::REGISTER;

fn cases() -> Vec<Case> {
    let case = |name, target, times, shape| Case { name, target, shape, times };
    let kv =
        Shape { operations: 2_000, clients: 50, keys: 10, puts: 2, appends: 3, cas: 1, ..REGISTER };
    let of_five = Shape { clients: 5, puts: 3, cas: 4, values: 5, ..REGISTER };
    let of_twenty = Shape { operations: 1_000, clients: 50, values: 20, ..REGISTER };
    let all_cas = Shape {
        operations: 300,
        clients: 30,
        timeouts: 5,
        puts: 0,
        cas: 10,
        values: 5,
        ..REGISTER
    };
    let bad = |shape| Shape { bad: true, ..shape };
    vec![
        case("register, 100,000 operations, 5 clients", "<= 20 ms", 5, REGISTER),
        case("the same, bad", "<= 20 ms", 5, bad(REGISTER)),
        case(
            "register, 10,000 operations, 25 clients",
            "<= 2 ms",
            5,
            Shape { operations: 10_000, clients: 25, ..REGISTER },
        ),
        case(
            "register, 1,000 operations, 25 clients, 1 % timeouts",
            "<= 5 ms",
            5,
            Shape { operations: 1_000, clients: 25, timeouts: 1, ..REGISTER },
        ),
        case(
            "cas register, 150 events, 30 % timeouts",
            "median <= 0.1 ms, worst <= 5 ms",
            100,
            Shape { operations: 88, timeouts: 30, ..of_five },
        ),
        case("kv with appends, 2,000 operations, 10 keys, 50 clients", "<= 50 ms", 20, kv),
        case("the same, bad", "<= 50 ms", 20, bad(kv)),
        case(
            "kv, 1,000,000 operations, 1,000 keys, 100 clients",
            "< 1 s",
            1,
            Shape { operations: 1_000_000, clients: 100, keys: 1_000, puts: 4, cas: 1, ..REGISTER },
        ),
        case("register of 20 values, 1,000 operations, 50 clients", "all decided", 20, of_twenty),
        case("the same, one answer changed", "all decided", 20, bad(of_twenty)),
        case("300 cas, 30 clients, 5 values, 5 % timeouts", "all decided", 20, all_cas),
        case("the same, one answer changed", "all decided", 20, bad(all_cas)),
    ]
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == ALONE) {
        return measure_alone(Path::new(&arguments[at + 1]));
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return Ok(());
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("no room")?;
    println!(
        "{:<55} {:>9} {:>10} {:>10} {:>10} {:>9} {:>13}  target",
        "history", "parse ms", "median ms", "worst ms", "all cores", "peak MiB", "porcupine-rs"
    );
    for case in cases() {
        let shape = Shape { operations: case.shape.operations.min(60), ..case.shape };
        let small = Case { shape, times: 1, ..case.clone() };
        measure(if measuring { &case } else { &small }, &folder.path().join("history.jsonl"))?;
    }
    Ok(())
}

/// Before the path of a history: measures that one, in a process of its own, so that nothing else
/// counts as its memory.
const ALONE: &str = "--alone";

fn measure_alone(file: &Path) -> Result<()> {
    let started = Instant::now();
    let history = values::read(file, Model::Kv)?;
    let parse_ms = started.elapsed().as_secs_f64() * 1e3;
    let judge = |budget| {
        let started = Instant::now();
        let verdict = check(&history.keys, &history.values, budget);
        (verdict, started.elapsed().as_secs_f64() * 1e3)
    };
    let (verdict, check_ms) = judge(Budget { jobs: 1, ..Budget::default() });
    let peak_mib = peak_mib()?;
    let (_, all_cores_ms) = judge(Budget::default());
    let word = match verdict {
        Verdict::Linearizable => "good",
        Verdict::NotLinearizable { .. } => "bad",
        Verdict::Undecided { .. } => "undecided",
    };
    println!("{}", json!([word, parse_ms, check_ms, all_cores_ms, peak_mib]));
    Ok(())
}

fn measure(case: &Case, file: &Path) -> Result<()> {
    let Case { name, target, shape, times } = case;
    let (mut parses, mut checks, mut all_cores, mut peaks) = (vec![], vec![], vec![], vec![]);
    let (mut theirs, mut undecided) = (None, 0);
    for seed in 0..*times {
        let mut out = BufWriter::new(fs::File::create(file)?);
        for line in shape.draw(seed) {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        let alone = Command::new(env::current_exe()?).arg(ALONE).arg(file).output()?;
        ensure!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
        let (word, parse_ms, check_ms, all_cores_ms, peak_mib): (String, f64, f64, f64, f64) =
            serde_json::from_slice(&alone.stdout)?;
        let is_hard = shape.values > 0;
        undecided += u64::from(is_hard && word == "undecided");
        // A changed answer may fit as well, where there are few values.
        let wanted = if shape.bad { "bad" } else { "good" };
        ensure!(word == wanted || is_hard, "{name} (seed {seed}) is {word}, not {wanted}");
        parses.push(parse_ms);
        checks.push(check_ms);
        all_cores.push(all_cores_ms);
        peaks.push(peak_mib);
        if seed == 0 && shape.timeouts == 0 {
            let history = values::read(file, Model::Kv)?;
            theirs = Some(by_porcupine(&history.keys, &history.values));
        }
    }
    for figures in [&mut parses, &mut checks, &mut all_cores, &mut peaks] {
        figures.sort_by(f64::total_cmp);
    }
    let theirs = match theirs {
        None => "no timeouts".to_owned(),
        Some(None) => format!("> {} s", PORCUPINE_LIMIT.as_secs()),
        Some(Some(took)) => format!("{:.1} ms", took.as_secs_f64() * 1e3),
    };
    println!(
        "{:<55} {:9.2} {:10.3} {:10.3} {:10.3} {:9.1} {:>13}  {}",
        name,
        parses[parses.len() / 2],
        checks[checks.len() / 2],
        checks[checks.len() - 1],
        all_cores[all_cores.len() / 2],
        peaks[peaks.len() - 1],
        theirs,
        match shape.values {
            0 => (*target).to_owned(),
            _ => format!("{target}; {} of {times} decided", times - undecided),
        }
    );
    Ok(())
}

fn peak_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such field")?;
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}

const PORCUPINE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Kv;

impl porcupine::Model for Kv {
    type State = String;
    type Op = (Action, String, String);
    type Metadata = ();

    fn init() -> String {
        String::new()
    }

    fn step(state: &String, (action, text, expected): &Self::Op) -> (bool, String) {
        match action {
            Action::Get(_) => (state == text, state.clone()),
            Action::Put(_) => (true, text.clone()),
            Action::Append(_) => (true, format!("{state}{text}")),
            Action::Delete => (true, String::new()),
            Action::Cas { told: Some(Cas::Done), .. } => (state == expected, text.clone()),
            Action::Cas { .. } => (state != expected, state.clone()),
        }
    }
}

/// How long porcupine-rs takes for all keys, one after the other; `None` past the limit.
fn by_porcupine(keys: &[Vec<Operation>], values: &Values) -> Option<Duration> {
    let text = |value: u32| values.text(value).unwrap_or_default().to_owned();
    let convert = |operation: &Operation| {
        let Operation { action, call_us, return_us, .. } = *operation;
        let (new, expected) = match action {
            Action::Get(value) | Action::Put(value) | Action::Append(value) => (value, ABSENT),
            Action::Cas { expected, new, .. } => (new, expected),
            Action::Delete => (ABSENT, ABSENT),
        };
        porcupine::Operation::<Kv> {
            client_id: None,
            call_time: call_us as i64,
            return_time: return_us.min(NEVER >> 2) as i64,
            op: (action, text(new), text(expected)),
            metadata: None,
        }
    };
    let keys: Vec<Vec<_>> = keys.iter().map(|key| key.iter().map(convert).collect()).collect();
    let started = Instant::now();
    for key in keys {
        let left = PORCUPINE_LIMIT.checked_sub(started.elapsed())?;
        if porcupine::check_operations_timeout(&key, left) == porcupine::CheckResult::Unknown {
            return None;
        }
    }
    Some(started.elapsed())
}
