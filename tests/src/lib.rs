//! What the tests share: the `lab` program, submissions, and a turn on the machine.

pub mod shapes;
pub mod small;
pub mod voter;
pub mod wire;

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

/// The root of the checkout under test.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// The `lab` program, built once with what is in the checkout.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = root().join("target");
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--workspace", "--bin", "lab", "--target-dir"])
            .arg(&target)
            .current_dir(root())
            .status();
        assert!(built.expect("cargo runs").success(), "the harness does not build");
        target.join("debug/lab")
    })
}

/// A command that runs `lab` with `arguments` in the checkout.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// What `lab` did.
pub struct Done {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("lab exits by itself"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `lab` with `arguments` to its end.
pub fn lab(arguments: &[&str]) -> Done {
    command(arguments).output().expect("lab starts").into()
}

/// Grades and returns the JSON report with what was printed.
pub fn grade(arguments: &[&str]) -> (Value, Done) {
    let folder = TempDir::new().expect("a temporary folder");
    let json = folder.path().join("grade.json");
    let json = json.to_str().expect("a temporary folder has a plain name");
    let done = lab(&[&["grade", "lock", "--json", json], arguments].concat());
    let text = fs::read_to_string(json).unwrap_or_else(|_| panic!("no report: {}", done.stderr));
    (serde_json::from_str(&text).expect("the report is JSON"), done)
}

/// The verdict of the milestone `id` in a grade.
pub fn verdict<'a>(grade: &'a Value, id: &str) -> &'a str {
    let milestones = grade["milestones"].as_array().expect("a grade has milestones");
    let milestone = milestones.iter().find(|milestone| milestone["id"] == id);
    milestone.and_then(|it| it["verdict"].as_str()).expect("the milestone was graded")
}

/// Waits for this test's turn: tests that start clusters would make each other late.
pub fn turn() -> File {
    let file = File::create(root().join("target/turn.lock")).expect("the target folder exists");
    file.lock().expect("the other tests end");
    file
}

/// Whether the answers are part of this copy; says what is skipped when they are not.
pub fn answers_are_here() -> bool {
    let here = root().join("tests/answers").is_dir();
    if !here {
        eprintln!("skipped: the answers are not part of this copy");
    }
    here
}

/// A checkout that shares everything with this one but what is built and what was graded.
pub fn checkout() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for entry in fs::read_dir(root()).expect("the checkout").flatten() {
        if ![".git", "target"].iter().any(|name| entry.file_name() == *name) {
            let link = folder.path().join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).expect("a writable folder");
        }
    }
    folder
}

/// Every line is at most so wide, but for commands and paths that can be copied.
pub fn fits(text: &str, columns: usize) {
    for line in text.lines() {
        let can_be_copied = ["cargo lab ", "target/lab/"].iter().any(|it| line.contains(it));
        assert!(can_be_copied || line.chars().count() <= columns, "{columns}: {line}\n{text}");
    }
}

/// A submission for the lock lab: its pristine gap files after `edit` has changed one of them.
pub fn submission(file: &str, edit: impl Fn(String) -> String) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for entry in fs::read_dir(root().join("labs/lock/.starter")).expect("a starter").flatten() {
        let mut text = fs::read_to_string(entry.path()).expect("a starter's file");
        if entry.file_name() == file {
            text = edit(text);
        }
        fs::write(folder.path().join(entry.file_name()), text).expect("a writable folder");
    }
    folder
}

/// The path of a submission as an argument.
pub fn path(folder: &TempDir) -> &str {
    folder.path().to_str().expect("a temporary folder has a plain name")
}

/// A submission whose nodes do `what` when they start.
pub fn node_that(what: &str) -> TempDir {
    let opening = "let now_ms = context.clock.now_ms();";
    submission("voter.rs", |text| text.replace(opening, &format!("{what}\n{opening}")))
}
