//! What a node's log says about its end.

use std::{fs, path::Path};

/// The panic that the log ends with, if it does: `panicked at FILE:LINE:COLUMN: message`.
pub fn panic(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).ok()?;
    let start = log.rfind("panicked at ")?;
    let mut lines = log[start..].lines();
    let place = lines.next()?.trim_end_matches(':');
    Some(format!("{place}: {}", lines.next().unwrap_or_default().trim()))
}

/// Whether the log says that memory was refused, as a program in Rust does before it aborts.
pub fn ran_out_of_memory(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|log| log.contains("memory allocation of "))
}

/// The last line, as the end of a sentence.
pub fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    match log.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("; the last line of its log: {}", line.trim()),
        None => "; its log is empty".to_owned(),
    }
}
