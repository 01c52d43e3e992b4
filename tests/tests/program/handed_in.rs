//! What is taken of what somebody hands in, what is refused, and what is told of the rest.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::Command,
};

use tempfile::TempDir;
use tests::{Done, command, path, root, submission, turn};

use super::trouble::GRADE;

/// A submission with more in it than is used, and a variable that nobody reads. It was never built.
fn careless() -> TempDir {
    let new = format!("let careless = {};\n    let now_ms =", std::process::id());
    let folder = submission("voter.rs", |text| text.replace("let now_ms =", &new));
    fs::create_dir_all(folder.path().join(".cargo")).unwrap();
    let editors =
        [".voter.rs.swp", "voter.rs~", "#voter.rs#", ".#voter.rs", "._voter.rs", ".DS_Store"];
    let own = ["lib.rs", "helper.rs", "Cargo.toml", ".cargo/config.toml", "voter.bak"];
    for name in own.into_iter().chain(editors) {
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
    let names = ".cargo/config.toml, Cargo.toml, helper.rs, lib.rs, voter.bak";
    assert!(told.starts_with(&format!("not used: {names} (of")), "{told}");
}

/// A checkout with a copy of the lock lab's sources, which shares the rest and what was built.
fn checkout() -> TempDir {
    let folder = TempDir::new().unwrap();
    let link = |name: &str| symlink(root().join(name), folder.path().join(name)).unwrap();
    fs::create_dir_all(folder.path().join("labs/lock/src")).unwrap();
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        "harness",
        "proto",
        "tests",
        "target",
        "labs/node",
        "labs/kv",
    ] {
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
    for name in ["#voter.rs#", "voter.rs~", ".voter.rs.swp"] {
        fs::write(src.join(name), [0xff, 0xfe]).unwrap();
    }
    assert!(Command::new("mkfifo").arg(src.join("pipe")).status().unwrap().success());
    // A build takes seconds.
    let wall_ms = grade("editors");
    assert!(wall_ms < 1000, "it was built again, for {wall_ms} ms");
    // The code may name these, so they count.
    for name in ["4913", "voter.rs.orig", "x.swp"] {
        fs::write(src.join(name), [0xff, 0xfe]).unwrap();
    }
    grade("others");
}

/// Whatever its name: a program is never older than what it was made from.
#[test]
fn a_file_that_the_code_names_is_part_of_it() {
    let _turn = turn();
    let folder = checkout();
    let src = folder.path().join("labs/lock/src");
    let main = fs::read_to_string(src.join("main.rs")).unwrap();
    let demand = "const _: () = assert!(!include_str!(\"words.old\").is_empty());";
    fs::write(src.join("main.rs"), format!("{main}\n{demand}\n")).unwrap();
    for (words, code) in [("some", 0), ("", 2)] {
        fs::write(src.join("words.old"), words).unwrap();
        let done = handed_in(folder.path(), None);
        assert_eq!(done.code, code, "{words:?}: {}{}", done.stdout, done.stderr);
    }
}

/// Grades the submission `folder`, or in it the working tree, and says how it was refused or
/// graded.
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

/// Whatever it leads to: the reference, or somebody else's answer.
#[test]
fn a_link_on_the_way_to_a_gap_file_is_refused() {
    let _turn = turn();
    let elsewhere = TempDir::new().unwrap();
    for way in ["src", "mine", "labs", "labs/lock", "labs/lock/src", "mine/src"] {
        let folder = TempDir::new().unwrap();
        let link = folder.path().join(way);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let target = elsewhere.path().join(format!("for {}", way.replace('/', " ")));
        let rest = match way {
            "labs" => "lock/src",
            "labs/lock" => "src",
            _ => "",
        };
        fs::create_dir_all(target.join(rest)).unwrap();
        for entry in fs::read_dir(root().join("labs/lock/.starter")).unwrap().flatten() {
            fs::copy(entry.path(), target.join(rest).join(entry.file_name())).unwrap();
        }
        symlink(&target, &link).unwrap();
        let done = handed_in(root(), Some(folder.path()));
        assert_eq!(done.code, 4, "{way}: {}{}", done.stdout, done.stderr);
        let words = format!("{} is a link: put the folder itself there", link.display());
        assert!(done.stderr.contains(&words), "{way}: {}", done.stderr);
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
        fs::write(folder.path().join(name).join("config"), "").unwrap();
    }
    fs::write(folder.path().join(".DS_Store"), "").unwrap();
    fs::create_dir_all(&inner).unwrap();
    for entry in fs::read_dir(root().join("labs/lock/.starter")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        fs::write(inner.join(entry.file_name()), text).unwrap();
    }
    let done = handed_in(root(), Some(folder.path()));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(!done.stderr.contains("not used"), "{}", done.stderr);
    // Beside the only folder in it, they are as little used.
    for name in ["lib.rs", "Cargo.toml", "voter of mine/helper.rs"] {
        fs::write(folder.path().join(name), "not Rust").unwrap();
    }
    let careless = handed_in(root(), Some(folder.path()));
    let told = "not used: Cargo.toml, lib.rs, voter of mine/helper.rs (of a submission, only";
    assert!(careless.stderr.contains(told), "{}", careless.stderr);
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
