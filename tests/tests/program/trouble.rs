//! The machine's own trouble costs nobody points: it is a harness error, with a sentence on what to
//! do, and never a verdict on the lab.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tests::{Done, command, path, program, root, submission, turn};

/// One run of the starter, which has no other failures: it takes the program that is there already.
pub const GRADE: [&str; 7] =
    ["grade", "lock", "--variant", "starter", "--milestone", "quiet", "--runs=1"];

/// Runs `script`, in which `$@` is a grade, as somebody who may not raise limits but may mount; the
/// namespaces are those of `unshare`. `None` where the system allows none.
fn unshared(namespaces: &str, script: &str) -> Option<Done> {
    grade_unshared(namespaces, script, &GRADE)
}

fn grade_unshared(namespaces: &str, script: &str, grade: &[&str]) -> Option<Done> {
    if !Command::new("unshare").args([namespaces, "true"]).status().is_ok_and(|it| it.success()) {
        eprintln!("skipped: this system does not allow unshare {namespaces}");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args([namespaces, "sh", "-c", script, "sh"]).arg(program()).args(grade);
    Some(unshare.current_dir(root()).output().expect("unshare starts").into())
}

/// That the harness failed, with one sentence that holds `words`.
fn is_harness_error(done: &Done, words: &[&str]) {
    let said = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.code, 4, "{said}");
    let folded = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(folded.contains("harness failed, not the lab"), "{said}");
    for word in words {
        assert!(folded.contains(word), "{word:?} is not in {said}");
    }
    assert!(!said.contains("broken") && !said.contains("read about gap"), "{said}");
}

#[test]
fn a_limit_that_is_too_low_is_told_before_anything_is_built() {
    let _turn = turn();
    for (limit, words) in [
        ("ulimit -n 48", &["only 48 open files", "raise that limit"][..]),
        ("ulimit -f 1000", &["in a file are allowed (ulimit -f)", "raise that limit"]),
        ("ulimit -d 200000", &["MiB of memory are allowed (ulimit -d)"]),
        ("prlimit --pid=$$ --nproc=20:20", &["more threads are allowed (ulimit -u)"]),
        ("ulimit -v 900000", &["MiB of addresses are allowed (ulimit -v)"]),
    ] {
        let Some(done) = unshared("-r", &format!("{limit} && exec \"$@\"")) else { return };
        is_harness_error(&done, words);
        assert!(!done.stderr.contains("building"), "{}", done.stderr);
    }
}

/// Lower than what a node may have, and enough: nobody may raise it.
#[test]
fn a_limit_that_is_low_enough_to_be_felt_by_nobody_stops_no_node() {
    let _turn = turn();
    let limits = "ulimit -d 3000000 && ulimit -Sn 200 && exec \"$@\"";
    let Some(done) = unshared("-r", limits) else { return };
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_loopback_interface_that_is_down_is_told_before_anything_is_built() {
    let _turn = turn();
    let Some(done) = unshared("-rn", "exec \"$@\"") else { return };
    is_harness_error(&done, &["connect to 127.0.0.1", "ip link set lo up"]);
    assert!(!done.stderr.contains("building"), "{}", done.stderr);
}

#[test]
fn nodes_write_elsewhere_where_shared_memory_is_small() {
    let _turn = turn();
    let small = "mount -t tmpfs -o size=1m none /dev/shm";
    let Some(done) = unshared("-rm", &format!("{small} && exec \"$@\"")) else { return };
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let nowhere = format!("{small} && export TMPDIR=/dev/shm && exec \"$@\"");
    is_harness_error(&unshared("-rm", &nowhere).unwrap(), &["room for what nodes write", "TMPDIR"]);
}

/// Fills the disk while the nodes serve.
const FILL: &str = "mount -t tmpfs -o size=300m none /dev/shm && { \"$@\" & }
    until ls /dev/shm/faultline-*/n3/db; do sleep 0.02; done >/dev/null 2>&1
    sleep 0.4
    head -c 400m /dev/zero > /dev/shm/fill
    wait $!";

#[test]
fn a_node_that_falls_because_the_disk_is_full_is_not_broken() {
    let _turn = turn();
    let Some(done) = unshared("-rm", FILL) else { return };
    is_harness_error(&done, &["no room is left in /dev/shm", "free some", "this is no grade"]);
}

/// Errors and silence may come of it as well as a fall.
#[test]
fn a_node_that_bears_a_full_disk_and_does_not_answer_is_not_broken() {
    let _turn = turn();
    // It serves once nothing can be written, and then answers nothing.
    let full = r#"let data = std::env::var("DATA_DIR").unwrap();
        for number in 0.. {
            if std::fs::write(format!("{data}/{number}"), [1; 4096]).is_err() { break; }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }"#;
    let folder = submission("voter.rs", |text| {
        let (open, asked) = ("let now_ms = context.clock", "let vote = match self.vote(");
        text.replacen(open, &format!("{full}{open}"), 1).replacen(
            asked,
            &format!("std::future::pending::<()>().await; {asked}"),
            1,
        )
    });
    let grade = ["grade", "lock", "--variant", path(&folder), "--milestone=quiet", "--runs=1"];
    let Some(done) = grade_unshared("-rm", FILL, &grade) else { return };
    is_harness_error(&done, &["no room is left in /dev/shm", "free some", "this is no grade"]);
}

/// A wrapper around the compiler that does `what` when it compiles the lab.
fn wrapper(what: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let wrapper = folder.path().join("wrapper");
    let lab = "case \" $* \" in *\" --crate-name lock \"*)";
    fs::write(&wrapper, format!("#!/bin/sh\n{lab} {what};; esac\nexec \"$@\"\n")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, wrapper)
}

/// Grades code that was never built, in this environment.
fn grade_new(code: &str, variables: &[(&str, &Path)]) -> Done {
    let new = submission("voter.rs", |text| format!("{text}\n{code}\n"));
    let mut command = command(&["grade", "lock", "--variant", path(&new), "--milestone=quiet"]);
    command.args(["--runs=1"]).envs(variables.iter().copied()).output().unwrap().into()
}

#[test]
fn a_compiler_that_fails_for_no_error_in_the_lab_is_the_machines_trouble() {
    let _turn = turn();
    // As rustc says it.
    let full = r#"echo '{"$message_type":"diagnostic","message":"failed to write","level":"error",
        "code":null,"spans":[],"children":[],"rendered":"error: No space left on device"}' |
        tr -d '\n' >&2; exit 1"#;
    for (trouble, words) in [
        (full, "No space left on device"),
        ("kill -9 $$", "SIGKILL"),
        ("ulimit -f 1", "(signal: 25"),
        ("set -- \"$@\" -Clinker=/nowhere/cc", "/nowhere/cc"),
    ] {
        let (_folder, wrapper) = wrapper(trouble);
        is_the_machines(&grade_new("// does not build", &[("RUSTC_WRAPPER", &wrapper)]), words);
    }
    let nowhere = Path::new("/nowhere/wrapper");
    is_the_machines(
        &grade_new("// does not build", &[("RUSTC_WRAPPER", nowhere)]),
        "/nowhere/wrapper",
    );
}

/// A crate that was built before, and is found where the lab uses it.
#[test]
fn a_crate_that_does_not_fit_is_the_machines_trouble() {
    let _turn = turn();
    for code in ["E0460", "E0461", "E0464", "E0514", "E0786"] {
        // As rustc says it.
        let error = serde_json::json!({
            "$message_type": "diagnostic", "message": "something is amiss with crate `node`",
            "level": "error", "code": { "code": code, "explanation": null }, "children": [],
            "rendered": format!("error[{code}]: something is amiss with crate `node`"),
            "spans": [{
                "file_name": "labs/lock/src/voter.rs", "is_primary": true, "label": null,
                "byte_start": 0, "byte_end": 1, "line_start": 5, "line_end": 5,
                "column_start": 1, "column_end": 2, "text": [], "expansion": null,
                "suggested_replacement": null, "suggestion_applicability": null,
            }],
        });
        let (_folder, wrapper) = wrapper(&format!("echo '{error}' >&2; exit 1"));
        let done = grade_new("// does not fit", &[("RUSTC_WRAPPER", &wrapper)]);
        is_harness_error(&done, &[code, "labs/lock/src/voter.rs:5 is not its own"]);
    }
}

fn is_the_machines(done: &Done, words: &str) {
    is_harness_error(done, &[words, "no error has a place in it", "mend what stands above"]);
}

#[test]
fn an_error_in_the_lab_is_the_labs() {
    let _turn = turn();
    for (code, words) in [
        ("extern crate nothing;", "does not compile: 1 error at labs/lock/src/voter.rs:"),
        // The compiler finds something of that name, and says that it does not fit.
        ("extern crate rustc;", "does not compile: 1 error at labs/lock/src/voter.rs:"),
        ("fn wrong() -> u32 { \"\" }", "does not compile: 1 error at labs/lock/src/voter.rs:"),
        (
            "#[allow(unsafe_code)]\nunsafe extern \"C\" { safe fn no_such_symbol(); }
            #[used]\nstatic CALLED: extern \"C\" fn() = no_such_symbol;",
            "does not link",
        ),
    ] {
        let done = grade_new(code, &[]);
        assert_eq!(done.code, 2, "{code}\n{}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}
