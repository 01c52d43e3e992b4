//! Sources: the files of a folder that the compiler may read, and not what editors keep beside
//! them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Files by their path in the workspace.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

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

/// Whether what is at `path` counts: a folder or a regular file, and by its name nothing that
/// editors hide. Whatever else they leave may be named in the code, so it counts. A link that leads
/// nowhere is a lock of Emacs.
pub fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_hidden = name.starts_with(['.', '#']) || name.ends_with('~');
    !is_hidden && fs::metadata(path).is_ok_and(|it| it.is_file() || it.is_dir())
}
