//! Sources: the files of a folder that the compiler may read, and not what editors keep beside them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Files by their path in the workspace.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// How the names of copies end that editors and tools leave behind.
const COPIES: [&str; 7] = ["bak", "old", "orig", "rej", "swo", "swp", "tmp"];

/// Reads the file at `path`, or every source in the folder, into `files`, by its name from `shown`
/// on.
///
/// # Errors
/// When a file cannot be read.
pub fn read_into(path: &Path, shown: &Path, files: &mut Files) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)?.flatten().filter(|entry| is_source(&entry.path())) {
            read_into(&entry.path(), &shown.join(entry.file_name()), files)?;
        }
    } else {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", shown.display()))?;
        files.insert(shown.to_owned(), bytes);
    }
    Ok(())
}

/// Whether the compiler may read what is at `path`: a folder or a regular file, and not what an editor
/// keeps beside the file that is edited. A link that leads nowhere is a lock of Emacs, 4913 a trial
/// of vim.
pub fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_kept_beside = name.starts_with(['.', '#'])
        || name.ends_with(['~', '#'])
        || name.ends_with("___")
        || name.bytes().all(|byte| byte.is_ascii_digit());
    let is_copy = |extension: &OsStr| COPIES.iter().any(|copy| extension == *copy);
    let is_readable = fs::metadata(path).is_ok_and(|it| it.is_file() || it.is_dir());
    !is_kept_beside && !path.extension().is_some_and(is_copy) && is_readable
}
