//! Standard output and standard error: everything that is printed goes through here.
//!
//! Whoever reads may go before the end, as `head` does, and a disk may be full: that ends the
//! printing and nothing else.

use std::{
    env,
    fmt::Display,
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::clean;

/// Longer lines are hard to read on the widest of screens, and shorter ones hold no word.
const LEAST_COLUMNS: usize = 20;
const MOST_COLUMNS: usize = 110;

/// Whether standard output has failed, which is said once.
static IS_GONE: AtomicBool = AtomicBool::new(false);

/// Prints `text` and the end of a line to standard output.
pub fn print(text: impl Display) {
    if IS_GONE.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = write(io::stdout().lock(), &text) {
        IS_GONE.store(true, Ordering::Relaxed);
        if error.kind() != ErrorKind::BrokenPipe {
            say(format_args!("error: cannot print to standard output: {error}"));
        }
    }
}

/// Prints `text` and the end of a line to standard error.
pub fn say(text: impl Display) {
    // There is nobody left to be told.
    let _ = write(io::stderr().lock(), &text);
}

fn write(mut out: impl Write, text: &impl Display) -> io::Result<()> {
    let text = clean::lines(&format!("{text}\n"));
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// How wide a line may be: what the variable `COLUMNS` says, or else the terminal, or else 80.
pub fn columns() -> usize {
    let wanted = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = wanted.unwrap_or_else(textwrap::termwidth);
    columns.clamp(LEAST_COLUMNS, MOST_COLUMNS)
}
