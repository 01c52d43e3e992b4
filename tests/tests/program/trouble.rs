//! The machine's own trouble costs nobody points: it is a harness error, with a sentence on what to
//! do, and never a verdict on the lab.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tests::{Done, command, path, program, root, submission, turn};

/// One run of the starter, which has no other failures: it takes the program that is there already.
const GRADE: [&str; 7] =
    ["grade", "lock", "--variant", "starter", "--milestone", "quiet", "--runs=1"];

/// Runs `script`, in which `$@` is a grade, as somebody who may not raise limits but may mount; the
/// namespaces are those of `unshare`. `None` where the system allows none.
fn unshared(namespaces: &str, script: &str) -> Option<Done> {
    if !Command::new("unshare").args([namespaces, "true"]).status().is_ok_and(|it| it.success()) {
        eprintln!("skipped: this system does not allow unshare {namespaces}");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args([namespaces, "sh", "-c", script, "sh"]).arg(program()).args(GRADE);
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

#[test]
fn a_node_that_falls_because_the_disk_is_full_is_not_broken() {
    let _turn = turn();
    let fill = "mount -t tmpfs -o size=300m none /dev/shm && { \"$@\" & }
        until ls /dev/shm/faultline-*/n3/db; do sleep 0.02; done >/dev/null 2>&1
        sleep 0.4
        head -c 400m /dev/zero > /dev/shm/fill
        wait $!";
    let Some(done) = unshared("-rm", fill) else { return };
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

fn is_the_machines(done: &Done, words: &str) {
    is_harness_error(done, &[words, "no error has a place in it", "mend what stands above"]);
}

#[test]
fn an_error_in_the_lab_is_the_labs() {
    let _turn = turn();
    for (code, words) in [
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

/// A submission with more in it than is used, and a variable that nobody reads. It was never built.
fn careless() -> TempDir {
    let new = format!("let careless = {};\n    let now_ms =", std::process::id());
    let folder = submission("voter.rs", |text| text.replace("let now_ms =", &new));
    for name in ["lib.rs", "helper.rs", "Cargo.toml", ".voter.rs.swp", "voter.rs~"] {
        fs::write(folder.path().join(name), "not Rust").unwrap();
    }
    // As it was handed out, so nobody misses it.
    fs::copy(root().join("labs/lock/src/main.rs"), folder.path().join("main.rs")).unwrap();
    folder
}

/// What a user tells cargo is for the user's own builds.
#[test]
fn a_build_stands_the_users_own_settings_and_tells_what_it_leaves_out() {
    let _turn = turn();
    let careless = careless();
    let mut command = command(&["grade", "lock", "--variant", path(&careless), "--runs=1"]);
    let machine = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU", env::consts::ARCH.to_uppercase());
    // Each is what a file of settings may say, too.
    for (name, value) in [
        ("RUSTFLAGS", "-Dwarnings"),
        ("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings"),
        ("CARGO_BUILD_RUSTFLAGS", "-Dwarnings"),
        (&format!("{machine}_RUSTFLAGS"), "-Dwarnings"),
        ("CARGO_TARGET_DIR", "/nowhere"),
        ("CARGO_BUILD_TARGET_DIR", "/nowhere"),
        ("CARGO_PROFILE_DEV_PANIC", "abort"),
        ("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false"),
    ] {
        command.env(name, value);
    }
    command.args(["--milestone=quiet"]).env("NOT_UTF_8", OsStr::from_bytes(b"\xff"));
    let done: Done = command.output().unwrap().into();
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("unused variable: `careless`"), "{}", done.stderr);
    let told = done.stderr.lines().find(|line| line.starts_with("not used: ")).unwrap();
    assert!(told.starts_with("not used: Cargo.toml, helper.rs, lib.rs (of"), "{told}");
}

/// A checkout with a copy of the lock lab's sources, which shares the rest and what was built.
fn checkout() -> TempDir {
    let folder = TempDir::new().unwrap();
    let link = |name: &str| symlink(root().join(name), folder.path().join(name)).unwrap();
    fs::create_dir_all(folder.path().join("labs/lock/src")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "harness", "proto", "target", "labs/node"] {
        link(name);
    }
    for name in ["Cargo.toml", "lab.toml", ".starter"] {
        link(&format!("labs/lock/{name}"));
    }
    for entry in fs::read_dir(root().join("labs/lock/src")).unwrap().flatten() {
        fs::copy(entry.path(), folder.path().join("labs/lock/src").join(entry.file_name()))
            .unwrap();
    }
    folder
}

#[test]
fn what_editors_keep_beside_the_sources_neither_stops_nor_repeats_a_build() {
    let _turn = turn();
    let folder = checkout();
    let src = folder.path().join("labs/lock/src");
    let grade = |what: &str| {
        let report = folder.path().join("grade.json");
        let mut command = command(&GRADE);
        let done: Done =
            command.arg("--json").arg(&report).current_dir(folder.path()).output().unwrap().into();
        assert_eq!(done.code, 0, "{what}: {}{}", done.stdout, done.stderr);
        let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        report["build"]["wall_ms"].as_u64().unwrap()
    };
    grade("nothing");
    // A lock of Emacs.
    symlink("somebody@somewhere.4711:1", src.join(".#voter.rs")).unwrap();
    for name in ["#voter.rs#", "voter.rs~", ".voter.rs.swp", "4913", "voter.rs.orig"] {
        fs::write(src.join(name), [0xff, 0xfe]).unwrap();
    }
    assert!(Command::new("mkfifo").arg(src.join("pipe")).status().unwrap().success());
    // A build takes seconds.
    let wall_ms = grade("editors");
    assert!(wall_ms < 1000, "it was built again, for {wall_ms} ms");
}

/// Grades the submission `folder`, or in it the working tree, and says how it was refused or graded.
fn handed_in(folder: &Path, variant: Option<&Path>) -> Done {
    let mut command = command(&["grade", "lock", "--milestone=quiet", "--runs=1"]);
    if let Some(variant) = variant {
        command.arg("--variant").arg(variant);
    }
    command.current_dir(folder).output().unwrap().into()
}

#[test]
fn what_is_no_source_is_refused_in_the_same_words_wherever_it_lies() {
    let _turn = turn();
    let large = vec![b'\n'; (1 << 20) + 1];
    for (content, words) in [
        (&b"// fine\n// caf\xe9\n"[..], "voter.rs:2 is not UTF-8: save the file in that encoding"),
        (&large, "voter.rs has more than 1 MiB"),
        (b"", "voter.rs is no regular file"),
    ] {
        let (submission, checkout) = (submission("", |text| text), checkout());
        for voter in ["labs/lock/src/voter.rs", "voter.rs"] {
            let voter = match voter {
                "voter.rs" => submission.path().join(voter),
                _ => checkout.path().join(voter),
            };
            fs::remove_file(&voter).unwrap();
            match content.is_empty() {
                true => symlink("/dev/zero", &voter).unwrap(),
                false => fs::write(&voter, content).unwrap(),
            }
        }
        for done in [handed_in(root(), Some(submission.path())), handed_in(checkout.path(), None)] {
            assert_eq!(done.code, 4, "{}{}", done.stdout, done.stderr);
            let errors = done.stderr.lines().filter(|line| line.starts_with("error: "));
            let errors: Vec<_> = errors.collect();
            assert!(matches!(*errors, [error] if error.contains(words)), "{}", done.stderr);
        }
    }
}

/// From another system, and packed by it: what is graded is the same code.
#[test]
fn line_ends_marks_and_folders_of_other_systems_make_no_difference() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("voter of mine/src");
    for name in ["__MACOSX", ".git"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::create_dir_all(&inner).unwrap();
    for entry in fs::read_dir(root().join("labs/lock/.starter")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        fs::write(inner.join(entry.file_name()), text).unwrap();
    }
    let done = handed_in(root(), Some(folder.path()));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(!done.stderr.contains("not used"), "{}", done.stderr);
    let program = |name: &str| {
        let runs = fs::read_dir(root().join("target/lab/runs")).unwrap().flatten();
        let runs = runs.map(|entry| entry.path()).filter(|it| it.to_string_lossy().contains(name));
        let run = fs::read(runs.max().unwrap().join("quiet/1/run.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&run).unwrap()["fingerprint"].clone()
    };
    let own = folder.path().file_name().unwrap().to_string_lossy().replace('_', "-");
    command(&GRADE).output().unwrap();
    assert_eq!(program(&own), program("-lock-starter"));
}
