//! The programs that were built: each has a folder of its own, and those used lately are kept.

use std::{fs, fs::File, path::Path, time::SystemTime};

use anyhow::{Context, Result, ensure};

use crate::cluster::limits::MIB;

/// How many programs are kept, how many bytes of them, and how many however large they are.
const KEPT_PROGRAMS: usize = 40;
const KEPT_BYTES: u64 = 1536 * MIB;
const ALWAYS_KEPT: usize = 2;

/// Copies the program that cargo built to its own place, if it is the one that was asked for.
///
/// # Errors
/// When it is not, or the disk refuses.
pub(super) fn keep(built: &Path, path: &Path, fingerprint: &str) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    let wanted = fingerprint.as_bytes();
    ensure!(
        bytes.windows(wanted.len()).any(|window| window == wanted),
        "cargo built something else than these sources; run cargo clean and try again"
    );
    let dir = path.parent().context("a program lies in a folder")?;
    let unfinished = dir.join("unfinished");
    let copy = || {
        fs::create_dir_all(dir)?;
        fs::copy(built, &unfinished)?;
        fs::rename(&unfinished, path)
    };
    copy().with_context(|| format!("cannot write {}", path.display()))
}

/// The program at `path` is used once more: its folder is as new as if it had just been built.
///
/// # Errors
/// When the disk refuses.
pub(super) fn used(path: &Path) -> Result<()> {
    let dir = path.parent().context("a program lies in a folder")?;
    let touched = File::open(dir).and_then(|dir| dir.set_modified(SystemTime::now()));
    touched.with_context(|| format!("cannot mark {} as used", dir.display()))
}

/// Removes the programs in `bin` that were used longest ago.
///
/// # Errors
/// When the disk refuses.
pub(super) fn forget_old(bin: &Path) -> Result<()> {
    let mut kept: Vec<_> = fs::read_dir(bin)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    let mut bytes = 0;
    for (newer, (_, dir)) in kept.into_iter().rev().enumerate() {
        bytes += bytes_in(&dir);
        let has_room = newer < KEPT_PROGRAMS && bytes <= KEPT_BYTES;
        if newer >= ALWAYS_KEPT && !has_room {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    Ok(())
}

fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;

    /// A program of this size that was used so long ago.
    fn program(bin: &Path, name: &str, mib: u64, hours_ago: u64) -> PathBuf {
        let dir = bin.join(name);
        fs::create_dir(&dir).unwrap();
        // It takes no room on the disk.
        File::create(dir.join("lock")).unwrap().set_len(mib * MIB).unwrap();
        let at = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
        File::open(&dir).unwrap().set_modified(at).unwrap();
        dir.join("lock")
    }

    fn kept(bin: &Path) -> Vec<String> {
        forget_old(bin).unwrap();
        let names = fs::read_dir(bin).unwrap().flatten();
        let mut names: Vec<_> =
            names.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_used_last_is_kept_up_to_a_number_and_a_size() {
        let bin = tempfile::tempdir().unwrap();
        let oldest = program(bin.path(), "oldest", 30, 99);
        for hours_ago in 0..KEPT_PROGRAMS as u64 {
            program(bin.path(), &format!("{hours_ago:02}"), 1, hours_ago);
        }
        used(&oldest).unwrap();
        let names = kept(bin.path());
        assert_eq!((names.len(), names.contains(&"39".to_owned())), (KEPT_PROGRAMS, false));
        assert!(oldest.is_file());

        let bin = tempfile::tempdir().unwrap();
        for (name, mib, hours_ago) in [("a", 600, 1), ("b", 600, 2), ("c", 400, 3), ("d", 1, 4)] {
            program(bin.path(), name, mib, hours_ago);
        }
        assert_eq!(kept(bin.path()), ["a", "b"]);
        program(bin.path(), "large", 3000, 0);
        assert_eq!(kept(bin.path()), ["a", "large"]);
    }
}
