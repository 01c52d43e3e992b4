//! Files of JSON lines: the record of messages, a history, the faults of a run.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Writes `item` as one line.
///
/// # Errors
/// When `out` refuses.
pub fn write_one(out: &mut impl Write, item: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, item)?;
    out.write_all(b"\n")
}

/// Writes `items`, a line each.
///
/// # Errors
/// When the disk refuses.
pub fn write<T: Serialize>(path: &Path, items: &[T]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        items.iter().try_for_each(|item| write_one(&mut out, item))?;
        out.flush()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what [`write`] has written.
///
/// # Errors
/// Names the file and the line that is not what it should be.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(index, line): (usize, io::Result<String>)| {
        serde_json::from_str(&line?).with_context(|| format!("{}:{}", path.display(), index + 1))
    };
    BufReader::new(file).lines().enumerate().map(parse).collect()
}
