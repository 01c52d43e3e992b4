//! How the code is laid out: every file says what it is, fits on a screen, and is no book.

use std::{collections::BTreeSet, ffi::OsString, fs, path::Path};

use tests::root;

/// The widest line, in characters, and the longest file, in lines.
const COLUMNS: usize = 100;
const LINES: usize = 400;

#[test]
fn every_file_opens_with_what_it_is_and_is_neither_wide_nor_long() {
    let mut offences = Vec::new();
    for folder in ["harness", "labs", "proto", "tests"] {
        look(&root().join(folder), &gap_files(), &mut offences);
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// The names of the files that a learner writes: nobody else decides how they are laid out.
fn gap_files() -> BTreeSet<OsString> {
    let labs = fs::read_dir(root().join("labs")).unwrap().flatten();
    let files =
        labs.flat_map(|lab| fs::read_dir(lab.path().join(".starter")).into_iter().flatten());
    files.flatten().map(|file| file.file_name()).collect()
}

fn look(folder: &Path, gap_files: &BTreeSet<OsString>, offences: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        let in_a_lab = path.starts_with(root().join("labs")) && gap_files.contains(&name);
        if path.is_dir() {
            // What is hidden, built, or an answer to a lab.
            let is_hidden = name.to_string_lossy().starts_with('.');
            if !is_hidden && name != "target" && name != "answers" {
                look(&path, gap_files, offences);
            }
        } else if is_source && !in_a_lab {
            judge(&path, offences);
        }
    }
}

fn judge(path: &Path, offences: &mut Vec<String>) {
    let text = fs::read_to_string(path).unwrap();
    if text.starts_with("// This file is @generated") {
        return;
    }
    let mut offend = |line: usize, what: &str| {
        offences.push(format!("{}:{line} {what}", path.display()));
    };
    if !text.starts_with("//! ") {
        offend(1, "does not say what the file is: open it with //!");
    }
    for (number, line) in (1..).zip(text.lines()) {
        if line.chars().count() > COLUMNS {
            offend(number, &format!("is wider than {COLUMNS} columns"));
        }
    }
    if text.lines().count() > LINES {
        offend(LINES, &format!("is not the last line: split what is longer than {LINES}"));
    }
}
