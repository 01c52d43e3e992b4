//! What `lab check` makes of files that others wrote: it judges what is a history in its form, to
//! the letter, and of anything else says in one sentence what it wants instead.

mod forms;
mod meaning;
mod memory;

use std::fs;

use tempfile::TempDir;
use tests::{Done, lab};

/// `lab check` on a file.
fn checked(bytes: impl AsRef<[u8]>, model: &str) -> Done {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.jsonl");
    fs::write(&file, bytes).unwrap();
    lab(&["check", file.to_str().unwrap(), "--model", model])
}

/// It is refused in one sentence with these parts.
fn refused(bytes: impl AsRef<[u8]>, model: &str, parts: &[&str]) {
    let bytes = bytes.as_ref();
    let done = checked(bytes, model);
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    assert_eq!(done.code, 4, "{model}: {what}: {}{}", done.stdout, done.stderr);
    let errors: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", done.stderr);
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {:?}", errors[0]);
    }
}

fn judged(lines: &[String], model: &str) -> (i32, String) {
    let done = checked(lines.join("\n"), model);
    let said = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    (done.code, said + &done.stderr)
}

/// An operation of key x; `rest` is op, value and expected.
fn of(process: u32, rest: &str, [call_us, return_us]: [u64; 2], result: &str) -> String {
    let times = format!(r#""call_us":{call_us},"return_us":{return_us}"#);
    format!(r#"{{"process":{process},"key":"x",{rest},{times},"result":{result}}}"#)
}

fn put(process: u32, value: &str, times: [u64; 2]) -> String {
    of(process, &format!(r#""op":"put","value":{value}"#), times, r#"{"ok":true}"#)
}

fn get(process: u32, value: &str, times: [u64; 2]) -> String {
    of(process, r#""op":"get""#, times, &format!(r#"{{"value":{value}}}"#))
}

fn lock(process: u32, rest: &str, times: [u64; 2], result: &str) -> String {
    of(process, &format!(r#""owner":"c{process}",{rest}"#), times, result)
}

const ACQUIRE: &str = r#""op":"acquire","request_no":1,"lease_ms":500"#;
