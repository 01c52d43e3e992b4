//! A search keeps to the memory that it has.

use std::{env, fs, process::Command};

use harness::{
    checker::linearizable::{Budget, RanOut, Verdict, check},
    history::values::{self, Model},
};
use tests::shapes::knot;

use super::{get, of};

/// The most memory that a test of this file had in use, in MiB, in a process of its own.
fn peak_mib_of(test: &str) -> f64 {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let peak = said.lines().find_map(|line| line.split_once("peak MiB: ")).expect("it says so");
    peak.1.trim().parse().unwrap()
}

fn tell_peak() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
    println!("peak MiB: {}", kib / 1024.0);
}

fn parsed(lines: &[String]) -> values::ValueHistory {
    values::parse(lines.join("\n").as_bytes(), "drawn".as_ref(), Model::Kv).unwrap()
}

const MEMORY_MIB: usize = 32;

#[test]
#[ignore = "another test runs it alone"]
fn search_that_runs_out_of_memory() {
    let lines: Vec<String> = knot().iter().map(ToString::to_string).collect();
    let history = parsed(&lines);
    let budget = Budget { memory_bytes: MEMORY_MIB << 20, ..Budget::default() };
    let verdict = check(&history.keys, &history.values, budget);
    assert_eq!(verdict, Verdict::Undecided { key: 0, ran_out: RanOut::Memory });
    tell_peak();
}

#[test]
#[ignore = "another test runs it alone"]
fn many_appends_and_one_read() {
    let text = |number: u64| format!("v{number} ");
    let append = |number: u64| {
        let value = format!(r#""op":"append","value":"{}""#, text(number));
        of((number % 4) as u32, &value, [number * 10, number * 10 + 15], r#"{"ok":true}"#)
    };
    let mut lines: Vec<String> = (0..20_000).map(append).collect();
    let whole: String = (0..20_000).map(text).collect();
    lines.push(get(9, &format!("\"{whole}\""), [300_000, 300_010]));
    let history = parsed(&lines);
    let verdict = check(&history.keys, &history.values, Budget::default());
    assert_eq!(verdict, Verdict::Linearizable);
    tell_peak();
}

#[test]
fn a_search_keeps_to_the_memory_that_it_has() {
    let peak = peak_mib_of("memory::search_that_runs_out_of_memory");
    // Half of it at least was in use, or the test would prove little; the history itself is small.
    assert!((MEMORY_MIB / 2..MEMORY_MIB + 24).contains(&(peak as usize)), "{peak} MiB");
    let peak = peak_mib_of("memory::many_appends_and_one_read");
    assert!(peak < 64.0, "{peak} MiB");
}
