//! What a node's log says about its end.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    iter,
    path::Path,
};

use crate::clean;

/// How many bytes of a line are read.
const LONGEST_LINE: u64 = 4096;

/// The panic that the log ends with, if it does: `panicked at FILE:LINE:COLUMN: message`.
pub fn panic(log: &Path) -> Option<String> {
    let (mut place, mut message) = (None, None);
    for line in lines(log) {
        match line.find("panicked at ") {
            Some(start) => (place, message) = (Some(line[start..].to_owned()), None),
            None if place.is_some() => drop(message.get_or_insert(line)),
            None => {}
        }
    }
    let (place, message) = (place?, message.unwrap_or_default());
    Some(clean::sentence(&format!("{}: {message}", place.trim_end().trim_end_matches(':'))))
}

/// Whether the log says that memory was refused, as a program in Rust does before it aborts.
pub fn ran_out_of_memory(log: &Path) -> bool {
    lines(log).any(|line| line.contains("memory allocation of "))
}

/// The last line, as the end of a sentence.
pub fn tail(log: &Path) -> String {
    match lines(log).filter(|line| !line.trim().is_empty()).last() {
        Some(line) => format!("; the last line of its log: {}", clean::sentence(&line)),
        None => "; its log is empty".to_owned(),
    }
}

/// The lines of a log, of each the beginning: a node may write anything, and as much as it likes.
fn lines(log: &Path) -> impl Iterator<Item = String> {
    let mut log = File::open(log).ok().map(BufReader::new);
    iter::from_fn(move || {
        let log = log.as_mut()?;
        let mut line = Vec::new();
        log.take(LONGEST_LINE).read_until(b'\n', &mut line).ok()?;
        if !line.ends_with(b"\n") {
            log.skip_until(b'\n').ok()?;
        }
        (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// What is said of a log with this in it.
    fn said(log: &[u8]) -> (Option<String>, String) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("n1.log");
        fs::write(&path, log).unwrap();
        (panic(&path), tail(&path))
    }

    #[test]
    fn the_last_panic_is_told_with_its_message() {
        let log = b"thread 'main' panicked at a.rs:1:2:\nold\n\nthread 'main' (7) panicked at \
                    b.rs:3:4:\n\x1b[31mnew\x1b[0m\nnote: run with RUST_BACKTRACE=1\n";
        assert_eq!(said(log).0.unwrap(), "panicked at b.rs:3:4: new");
        assert_eq!(said(b"all is well").0, None);
        assert_eq!(said(b"panicked at a.rs:1:2:\n").0.unwrap(), "panicked at a.rs:1:2:");
    }

    #[test]
    fn a_log_may_hold_anything() {
        let long = vec![b'x'; 50 << 20];
        let (panic, tail) = said(&[b"panicked at a.rs:1:2:\n", &long[..]].concat());
        let (panic, shown) = (panic.unwrap(), tail.strip_prefix("; the last line of its log: "));
        assert!(panic.starts_with("panicked at a.rs:1:2: xxx"), "{panic}");
        assert_eq!((panic.chars().count(), shown.unwrap().chars().count()), (500, 500));
        assert_eq!(said(b"\n \n").1, "; its log is empty");
        assert_eq!(said(b"\xff\x1b[2Jno\x07\n").1, "; the last line of its log: \u{fffd}no\\u0007");
    }
}
