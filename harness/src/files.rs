//! Files as JSON: how they are written and read, and what is said when that fails.

use std::{fs, path::Path};

use anyhow::{Context, Result};
pub use fabric::lines::{read as read_lines, write as write_lines};
use serde::{Serialize, de::DeserializeOwned};

/// Writes `value` as indented JSON.
///
/// # Errors
/// When the disk refuses.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what [`write_json`] has written.
///
/// # Errors
/// Names the file that cannot be read, and the line that is not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
