//! Nodes that take too much, or look where they should not: stopped, named, nobody else is harmed.

use tests::{grade, path, submission, turn, verdict};

/// Grades a node that does `what` once it is asked for a lock: the story of its only run.
fn story_of(what: &str) -> String {
    let asked = "    // GAP 2";
    let folder = submission("lease.rs", |text| {
        text.replacen(asked, &format!("    {{ {what} }}\n{asked}"), 1)
    });
    let (report, done) =
        grade(&["--variant", path(&folder), "--milestone", "quiet", "--runs", "1"]);
    assert_eq!((done.code, verdict(&report, "quiet")), (2, "broken"), "{}", done.stdout);
    report["milestones"][0]["runs"][0]["story"].as_str().unwrap().to_owned()
}

fn stopped(what: &str, because: &str) {
    let story = story_of(what);
    assert!(story.contains(because), "{because} is not in {story}");
}

#[test]
fn a_node_that_eats_memory_is_stopped() {
    let _turn = turn();
    let eat = "let mut eaten: Vec<Vec<u8>> = Vec::new(); loop { eaten.push(vec![1; 1 << 24]); }";
    stopped(eat, "MiB of memory and was stopped");
    // Too much only when the harness already waits for it to answer again.
    let slowly = "let mut eaten: Vec<Vec<u8>> = Vec::new();
        loop {
            eaten.push(vec![1; 1 << 24]);
            std::thread::sleep(std::time::Duration::from_millis(60));
        }";
    stopped(slowly, "used more than 1024 MiB of memory and was stopped");
}

/// The system kills a node that has much when memory is short, and a node may do so itself.
#[test]
fn a_node_that_is_killed_while_it_has_much_memory_is_broken() {
    let _turn = turn();
    let eat = "let eaten = vec![1_u8; 640 << 20];
        std::thread::sleep(std::time::Duration::from_secs(1));
        let me = std::process::id().to_string();
        let _ = std::process::Command::new(\"kill\").args([\"-KILL\", &me]).status();
        drop(eaten);";
    stopped(eat, "was killed while it used more than 512 MiB of memory");
}

#[test]
fn a_node_that_starts_processes_without_end_is_stopped() {
    let _turn = turn();
    let fork = "loop { let _ = std::process::Command::new(\"sleep\").arg(\"60\").spawn(); }";
    stopped(fork, "started more than 64 processes and was stopped");
}

#[test]
fn a_node_that_fills_its_disk_is_stopped() {
    let _turn = turn();
    let fill = "let data = std::env::var(\"DATA_DIR\").unwrap();
        for number in 0.. {
            std::fs::write(format!(\"{data}/{number}\"), vec![1; 1 << 24]).unwrap();
        }";
    stopped(fill, "kept more than 512 MiB in its data directory and was stopped");
    let one_file = "let data = std::env::var(\"DATA_DIR\").unwrap();
        std::fs::write(format!(\"{data}/one\"), vec![1; 600 << 20]).unwrap();";
    stopped(one_file, "more than 512 MiB");
}

#[test]
fn a_node_that_floods_its_log_is_stopped() {
    let _turn = turn();
    stopped(
        "loop { eprintln!(\"{}\", \"again and \".repeat(1000)); }",
        "wrote more than 16 MiB to its log and was stopped",
    );
}

#[test]
fn a_node_sees_no_other_nodes_files_and_writes_only_its_own() {
    let _turn = turn();
    // It says by a panic what it could do.
    let look = r#"
        let data = std::path::PathBuf::from(std::env::var("DATA_DIR").unwrap());
        std::fs::write(data.join("own"), "mine").expect("its own folder is its own");
        for other in ["n1", "n2", "n3"].map(|node| data.with_file_name(node)) {
            if other == data { continue; }
            assert!(std::fs::read_dir(&other).is_err(), "it reads {other:?}");
            assert!(std::fs::write(other.join("x"), "x").is_err(), "it writes {other:?}");
        }
        let beside = data.parent().unwrap().parent().unwrap();
        assert!(std::fs::read_dir(beside).is_err(), "it reads {beside:?}");
        for place in ["/tmp/faultline-escaped", "faultline-escaped"] {
            assert!(std::fs::write(place, "x").is_err(), "it writes {place}");
        }
        let harness = std::os::unix::process::parent_id().to_string();
        let killed = std::process::Command::new("kill").args(["-CONT", &harness]).status();
        assert!(!killed.unwrap().success(), "it signals the harness");
        panic!("all as it should be");
    "#;
    let story = story_of(look);
    if !std::path::Path::new("/proc/sys/kernel").exists() || story.contains("it signals") {
        // Landlock scopes signals since Linux 6.12.
        return;
    }
    assert!(story.contains("all as it should be"), "{story}");
}
