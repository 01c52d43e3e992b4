//! The lines of a history, one after the other in bounded memory, and the order of each process's
//! operations; every mistake with its file and line.

use std::{
    io::{BufRead, Read},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::foreign;

/// A longer line is no operation.
const LONGEST_LINE: u64 = 1 << 20;
/// No time is later: what other tools can write down, too. Sums with a lease stay far from the end
/// of 64 bits.
pub const LATEST_US: u64 = (1 << 63) - 1;
/// Where the form of a history is described.
const DESCRIBED: &str = "docs/histories.md describes the form";

/// Gives `add` every line of `lines`, which come from `path`, that is not blank, with its number.
///
/// # Errors
/// Names the line that is not what it should be, or the file if it has no line or another form.
pub fn each(
    mut lines: impl BufRead,
    path: &Path,
    mut add: impl FnMut(&[u8], u32) -> Result<()>,
) -> Result<()> {
    let (mut line, mut number, mut is_first) = (Vec::new(), 0_u32, true);
    loop {
        line.clear();
        number = number.checked_add(1).context("the file has more than four billion lines")?;
        let place = || format!("{}:{number}", path.display());
        let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.with_context(place)? == 0 {
            break;
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf".as_slice()).filter(|_| number == 1);
        let text = text.unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        if let Some(seen) = is_first.then(|| foreign::form(text)).flatten() {
            bail!("{}: this seems to be {seen}; {WANTED}; {DESCRIBED}", place());
        }
        ensure!(
            line.ends_with(b"\n") || (line.len() as u64) < LONGEST_LINE,
            "{}: the line is longer than {LONGEST_LINE} bytes, so it is no operation",
            place()
        );
        add(text, number).with_context(place)?;
        is_first = false;
    }
    ensure!(!is_first, "{} holds no operation; {WANTED}; {DESCRIBED}", path.display());
    Ok(())
}

const WANTED: &str = "check reads JSON lines in UTF-8, one operation a line";

/// What a line says.
///
/// # Errors
/// What is wrong with it, and where in the line.
pub fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| {
        let said = error.to_string();
        // A line has no lines.
        let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
        anyhow!("{what} at column {}; {DESCRIBED}", error.column())
    })
}

/// What each process did last.
#[derive(Default)]
pub struct Processes {
    last: FxHashMap<u32, Last>,
}

struct Last {
    call_us: u64,
    return_us: Option<u64>,
    line: u32,
}

impl Processes {
    /// A process called, and got its answer if it ever did.
    ///
    /// # Errors
    /// When that is impossible, or comes too late in the file.
    pub fn call(
        &mut self,
        process: u32,
        call_us: u64,
        return_us: Option<u64>,
        line: u32,
    ) -> Result<()> {
        let latest_us = return_us.map_or(call_us, |return_us| return_us.max(call_us));
        ensure!(
            latest_us <= LATEST_US,
            "{latest_us} is too late a time: the latest is {LATEST_US}"
        );
        ensure!(
            return_us.is_none_or(|return_us| return_us >= call_us),
            "return_us comes before call_us"
        );
        let Some(last) = self.last.insert(process, Last { call_us, return_us, line }) else {
            return Ok(());
        };
        ensure!(
            call_us >= last.call_us,
            "process {process} calls before its operation of line {}: write the operations of one \
             process in the order of their calls",
            last.line
        );
        // An operation that never returned lasts until its client goes on to the next one.
        ensure!(
            last.return_us.is_none_or(|return_us| return_us <= call_us),
            "process {process} calls while its operation of line {} is under way",
            last.line
        );
        Ok(())
    }
}

/// Whether an operation returned.
///
/// # Errors
/// When it says only one half of it.
pub fn has_returned(return_us: Option<u64>, has_result: bool) -> Result<bool> {
    ensure!(
        return_us.is_some() == has_result,
        "{} is there and {} is not: an operation whose client never learned its result has null \
         for both, any other one has both",
        if has_result { "result" } else { "return_us" },
        if has_result { "return_us" } else { "result" },
    );
    Ok(has_result)
}
