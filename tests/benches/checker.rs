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
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// What kind of history is made.
#[derive(Clone)]
struct Shape {
    name: &'static str,
    target: &'static str,
    operations: usize,
    clients: usize,
    keys: usize,
    /// In how many of a hundred operations the client never learns what came of it.
    timeouts: u32,
    /// Of ten operations, how many are puts, appends and compare-and-sets; the rest are gets.
    puts: u32,
    appends: u32,
    cas: u32,
    /// From how many values a put chooses; 0: every one is new.
    values: u32,
    /// Whether one read at the end is made a wrong one.
    bad: bool,
    /// How many histories of this shape.
    times: u64,
}

const REGISTER: Shape = Shape {
    name: "register, 100,000 operations, 5 clients",
    target: "<= 20 ms",
    operations: 100_000,
    clients: 5,
    keys: 1,
    timeouts: 0,
    puts: 5,
    appends: 0,
    cas: 0,
    values: 0,
    bad: false,
    times: 5,
};

fn shapes() -> Vec<Shape> {
    let kv = Shape {
        name: "kv with appends, 2,000 operations, 10 keys, 50 clients",
        target: "<= 50 ms",
        operations: 2_000,
        clients: 50,
        keys: 10,
        puts: 2,
        appends: 3,
        cas: 1,
        times: 20,
        ..REGISTER
    };
    vec![
        REGISTER,
        Shape { name: "the same, bad", bad: true, ..REGISTER },
        Shape {
            name: "register, 10,000 operations, 25 clients",
            target: "<= 2 ms",
            operations: 10_000,
            clients: 25,
            ..REGISTER
        },
        Shape {
            name: "register, 1,000 operations, 25 clients, 1 % timeouts",
            target: "<= 5 ms",
            operations: 1_000,
            clients: 25,
            timeouts: 1,
            ..REGISTER
        },
        Shape {
            name: "cas register, 150 events, 30 % timeouts",
            target: "median <= 0.1 ms, worst <= 5 ms",
            operations: 88,
            clients: 5,
            timeouts: 30,
            puts: 3,
            cas: 4,
            values: 5,
            times: 100,
            ..REGISTER
        },
        kv.clone(),
        Shape { name: "the same, bad", bad: true, ..kv },
        Shape {
            name: "kv, 1,000,000 operations, 1,000 keys, 100 clients",
            target: "< 1 s",
            operations: 1_000_000,
            clients: 100,
            keys: 1_000,
            puts: 4,
            cas: 1,
            times: 1,
            ..REGISTER
        },
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
    for shape in shapes() {
        let small = Shape { operations: shape.operations.min(60), times: 1, ..shape.clone() };
        measure(if measuring { &shape } else { &small }, &folder.path().join("history.jsonl"))?;
    }
    Ok(())
}

/// Before the path of a history: measures that one, in a process of its own, so that nothing else
/// counts as its memory.
const ALONE: &str = "--alone";

fn measure_alone(file: &Path) -> Result<()> {
    let started = Instant::now();
    let mut history = values::read(file, Model::Kv)?;
    let parse_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut judge = |budget| {
        let started = Instant::now();
        let verdict = check(&history.keys, &mut history.values, budget);
        (verdict, started.elapsed().as_secs_f64() * 1e3)
    };
    let (verdict, check_ms) = judge(Budget { jobs: 1, ..Budget::default() });
    let peak_mib = peak_mib()?;
    let (_, all_cores_ms) = judge(Budget::default());
    let word = match verdict {
        Verdict::Linearizable => "good",
        Verdict::NotLinearizable(_) => "bad",
        Verdict::Undecided { .. } => "undecided",
    };
    println!("{}", json!([word, parse_ms, check_ms, all_cores_ms, peak_mib]));
    Ok(())
}

fn measure(shape: &Shape, file: &Path) -> Result<()> {
    let (mut parses, mut checks, mut all_cores, mut peaks) = (vec![], vec![], vec![], vec![]);
    let mut theirs = None;
    for seed in 0..shape.times {
        write(shape, seed, file)?;
        let alone = Command::new(env::current_exe()?).arg(ALONE).arg(file).output()?;
        ensure!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
        let (word, parse_ms, check_ms, all_cores_ms, peak_mib): (String, f64, f64, f64, f64) =
            serde_json::from_slice(&alone.stdout)?;
        let wanted = if shape.bad { "bad" } else { "good" };
        ensure!(word == wanted, "{} (seed {seed}) is {word}, not {wanted}", shape.name);
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
        shape.name,
        parses[parses.len() / 2],
        checks[checks.len() / 2],
        checks[checks.len() - 1],
        all_cores[all_cores.len() / 2],
        peaks[peaks.len() - 1],
        theirs,
        shape.target
    );
    Ok(())
}

fn peak_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such field")?;
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}

/// Clients that always have an operation in flight; each takes effect at a moment in between.
fn write(shape: &Shape, seed: u64, file: &Path) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut free_at = vec![0_u64; shape.clients];
    // A client that never learned goes on under another name.
    let mut names: Vec<usize> = (0..shape.clients).collect();
    let mut drawn = Vec::with_capacity(shape.operations);
    for number in 0..shape.operations {
        let client = (0..shape.clients).min_by_key(|client| free_at[*client]).expect("some");
        let call_us = free_at[client];
        let return_us = call_us + random.random_range(50..1000);
        let moment_us = random.random_range(call_us..=return_us);
        free_at[client] = return_us + random.random_range(1..5);
        let times_out = random.random_range(0..100) < shape.timeouts;
        drawn.push((moment_us, number, names[client], call_us, return_us, times_out));
        if times_out {
            names[client] = shape.clients + number;
        }
    }
    drawn.sort_unstable();
    let mut state = vec![None::<String>; shape.keys];
    let mut lines = Vec::with_capacity(drawn.len());
    for (_, number, process, call_us, return_us, times_out) in drawn {
        let key = random.random_range(0..shape.keys);
        // Half of those that time out never happen.
        let happens = !times_out || random.random_range(0..2) == 0;
        let (mut line, told) = operate(shape, &mut random, number, &mut state[key], happens);
        line["process"] = json!(process);
        line["key"] = json!(format!("k{key}"));
        line["call_us"] = json!(call_us);
        line["return_us"] = if times_out { Value::Null } else { json!(return_us) };
        line["result"] = if times_out { Value::Null } else { told };
        lines.push((call_us, line));
    }
    lines.sort_by_key(|(call_us, _)| *call_us);
    if shape.bad {
        spoil(&mut lines);
    }
    let mut out = BufWriter::new(fs::File::create(file)?);
    for (_, line) in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// One operation, and what it is told.
fn operate(
    shape: &Shape,
    random: &mut StdRng,
    number: usize,
    state: &mut Option<String>,
    happens: bool,
) -> (Value, Value) {
    let mut value = || match shape.values {
        0 => format!("v{number}"),
        values => format!("v{}", random.random_range(0..values)),
    };
    let (new, other) = (value(), value());
    let draw = random.random_range(0..10);
    if draw < shape.puts {
        if happens {
            *state = Some(new.clone());
        }
        return (json!({ "op": "put", "value": new }), json!({ "ok": true }));
    }
    if draw < shape.puts + shape.appends {
        if happens {
            // Kept short by starting anew now and then.
            *state = Some(state.clone().unwrap_or_default() + &new);
        }
        return (json!({ "op": "append", "value": new }), json!({ "ok": true }));
    }
    if draw < shape.puts + shape.appends + shape.cas {
        let expected = match random.random_range(0..2) {
            0 => state.clone(),
            _ => Some(other),
        };
        let ok = *state == expected;
        if ok && happens {
            *state = Some(new.clone());
        }
        let line = json!({ "op": "cas", "expected": expected, "value": new });
        return (line, json!({ "ok": ok }));
    }
    (json!({ "op": "get" }), json!({ "value": *state }))
}

/// A read in the last tenth sees what was there in the first.
fn spoil(lines: &mut [(u64, Value)]) {
    let is_get = |line: &Value| line["op"] == "get" && !line["result"]["value"].is_null();
    let early = lines.iter().find(|(_, line)| is_get(line)).map(|(_, line)| line.clone());
    let early = early.expect("somebody reads");
    let late = lines.iter_mut().rev().find(|(_, it)| is_get(it) && it["key"] == early["key"]);
    late.expect("and again").1["result"] = early["result"].clone();
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
        let Operation { action, call_us, return_us } = *operation;
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
