//! `lab run` and `lab check`: nodes in the foreground, histories from a file.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use node::Channel;
use proto::lock::{AcquireRequest, acquire_reply::Outcome, lock_client::LockClient};
use tempfile::TempDir;
use tests::{Done, command, lab, turn};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn run_starts_nodes_that_anybody_can_ask_and_ctrl_c_ends_them() {
    let _turn = turn();
    let mut running = command(&["run", "lock", "--variant", "starter", "--nodes", "2"]);
    let mut running = Running(running.stdout(Stdio::piped()).spawn().unwrap());
    // Open to the end: whoever prints into a closed pipe ends.
    let mut out = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let lines: Vec<String> = out.by_ref().take(2).map(Result::unwrap).collect();
    let addresses: Vec<&str> =
        lines.iter().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (address, request_no) in addresses.iter().zip(1..) {
            let channel = Channel::connect(address).unwrap();
            let mut health = HealthClient::new(channel.clone());
            let healthy = health.check(HealthCheckRequest::default()).await.unwrap();
            assert_eq!(healthy.into_inner().status, 1);
            let request = AcquireRequest {
                name: address.to_string(),
                owner: "me".into(),
                request_no,
                lease_ms: 500,
            };
            let reply = LockClient::new(channel).acquire(request).await.unwrap().into_inner();
            assert!(matches!(reply.outcome, Some(Outcome::Granted(_))), "{reply:?}");
        }
    });
    let interrupt = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    std::thread::sleep(Duration::from_secs(1));
    let taken = addresses.iter().filter(|it| std::net::TcpStream::connect(it).is_ok()).count();
    assert_eq!(taken, 0, "a node is left running");
}

/// Checks these lines as a history of locks.
fn check(lines: &[&str], more: &[&str]) -> Done {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    lab(&[&["check", file.to_str().unwrap(), "--model", "lock"], more].concat())
}

const ACQUIRED: &str = concat!(
    r#"{"process":1,"op":"acquire","key":"x","owner":"a","#,
    r#""request_no":1,"lease_ms":500,"call_us":0,"return_us":9,"result":{"granted":1}}"#
);
const RELEASED: &str = concat!(
    r#"{"process":1,"op":"release","key":"x","owner":"a","token":1,"#,
    r#""call_us":100,"return_us":110,"result":"ok"}"#
);
const NEXT: &str = concat!(
    r#"{"process":2,"op":"acquire","key":"x","owner":"b","#,
    r#""request_no":1,"lease_ms":500,"call_us":120,"return_us":130,"result":{"granted":2}}"#
);
const UNKNOWN: &str = concat!(
    r#"{"process":3,"op":"acquire","key":"x","owner":"c","#,
    r#""request_no":1,"lease_ms":500,"call_us":5,"return_us":null,"result":null}"#
);

#[test]
fn check_tells_a_right_history_from_a_wrong_one() {
    let right = check(&[ACQUIRED, UNKNOWN, RELEASED, NEXT], &[]);
    assert_eq!((right.code, right.stdout.trim()), (0, "linearizable: 4 operations"));
    let wrong = check(&[ACQUIRED, NEXT], &[]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.starts_with("not linearizable"), "{}", wrong.stdout);
    assert!(wrong.stdout.contains("b was granted x with token 2"), "{}", wrong.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&check(&[ACQUIRED, NEXT], &["--json"]).stdout).unwrap();
    assert_eq!(json["verdict"], "not linearizable");
}

#[test]
fn check_refuses_what_is_no_history_with_the_line() {
    let early = RELEASED.replace("110", "90");
    let overlapping = RELEASED.replace("100", "5");
    for (lines, part) in [
        (vec![ACQUIRED, "{\"process\":"], ":2"),
        (vec![ACQUIRED, early.as_str()], ":2: return_us comes before call_us"),
        (vec![ACQUIRED, overlapping.as_str()], ":2: process 1 calls while its operation of line 1"),
    ] {
        let done = check(&lines, &[]);
        assert_eq!(done.code, 4, "{}", done.stdout);
        assert!(done.stderr.contains(part), "{part} is not in {}", done.stderr);
    }
    assert_eq!(lab(&["check", "no-such-file", "--model", "lock"]).code, 4);
    assert_eq!(lab(&["check", "README.md", "--model", "luck"]).code, 4);
}
