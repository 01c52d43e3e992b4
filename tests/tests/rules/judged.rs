//! What the lock's workload makes of messages: hand-made runs with a right verdict.

use std::collections::BTreeMap;

use harness::{
    fabric::{
        fault::{Entry, Fault, Phase},
        record::Message,
    },
    grade::{
        judge::judge,
        lateness::Lateness,
        watch::{Observed, Trial},
    },
    lab::Scenario,
    labs,
    verdict::Verdict,
    workload::{Evidence, script::Script},
};
use proto::lock::{AcquireReply, AcquireRequest, Granted, acquire_reply::Outcome};
use serde_json::json;
use tests::wire::{aim, entry, frame};

/// `owner` asks n1 for the lock at a moment and is told a token at another.
fn granted(owner: &str, asked_us: u64, told_us: u64, token: u64) -> Message {
    let request =
        AcquireRequest { name: "lock-1".into(), owner: owner.into(), request_no: 1, lease_ms: 600 };
    let reply = AcquireReply { outcome: Some(Outcome::Granted(Granted { token })) };
    let message = json!({
        "id": token, "copy": 0, "from": owner, "to": "n1",
        "path": "/faultline.lock.v1.Lock/Acquire",
        "sent_us": asked_us, "delivered_us": asked_us, "replied_us": told_us,
        "answered_us": told_us, "gave_up_us": null, "code": 0, "lost": null,
        "request": "", "reply": null,
    });
    let message: Message = serde_json::from_value(message).unwrap();
    Message { request: frame(&request).into(), reply: Some(frame(&reply).into()), ..message }
}

/// Whether somebody waited for more than a second for a free lock, when c2 asked at 0.65 s.
fn is_slow(messages: Vec<Message>) -> bool {
    let asked = json!({
        "process": 2, "op": "acquire", "key": "lock-1", "owner": "c2", "request_no": 1,
        "lease_ms": 600, "call_us": 650_000, "return_us": null, "result": null,
        "tries": [{ "node": "n1", "call_us": 650_000, "return_us": 800_000, "answer": "timeout" }],
    });
    let history = vec![serde_json::from_value(asked).unwrap()];
    let evidence = Evidence { history, messages, end_us: 3_000_000, ..Evidence::default() };
    let lock = labs::workload("lock", &toml::Table::new()).unwrap();
    let bounds = BTreeMap::from([("granted_again".to_owned(), 1_000_000)]);
    !lock.judge(&evidence, &[], &bounds).lates.is_empty()
}

#[test]
fn a_lease_granted_late_by_a_slow_node_is_over_late() {
    // Told at 1.3 s, so it may run until 1.9 s, though it was asked for at the very start.
    assert!(!is_slow(vec![granted("c1", 0, 1_300_000, 1), granted("c2", 650_000, 1_950_000, 2)]));
    assert!(is_slow(vec![granted("c1", 0, 2_000, 1), granted("c2", 650_000, 1_950_000, 2)]));
}

/// The verdict on a run whose first grant came after so long, and another one before its end.
fn verdict(first_calm_ms: u64, first_granted_us: u64) -> Verdict {
    judged(first_calm_ms, first_granted_us, "", &[])
}

/// The same, of a scenario that wants `faults`, when nothing of `schedule` struck.
fn judged(first_calm_ms: u64, first_granted_us: u64, faults: &str, schedule: &[Entry]) -> Verdict {
    let scenario: Scenario = toml::from_str(&format!(
        "name = \"judged\"\nworkload = \"lock\"\nnodes = 3\nclients = 1\n\
         duration_ms = 4_000\ncalm_ms = [{first_calm_ms}, 1_800]\n{faults}"
    ))
    .unwrap();
    let granted = |token: u64, return_us: u64| {
        let operation = json!({
            "process": 1, "op": "acquire", "key": format!("lock-{token}"), "owner": "c1",
            "request_no": token, "lease_ms": 600, "call_us": 1000, "return_us": return_us,
            "result": { "granted": token },
            "tries": [{
                "node": "n1", "call_us": 1000, "return_us": return_us,
                "answer": { "granted": token },
            }],
        });
        serde_json::from_value(operation).unwrap()
    };
    let history = vec![granted(1, first_granted_us), granted(2, 3_500_000)];
    let observed =
        Observed { history, healed_us: 2_200_000, end_us: 4_000_000, ..Observed::default() };
    let workload = scenario.load_workload().unwrap();
    let script = Script::default();
    let workload = workload.as_ref();
    let trial = Trial { scenario: &scenario, workload, seed: 1, schedule, script };
    judge(&trial, observed, Vec::new(), Lateness::default()).reason.verdict
}

#[test]
fn a_grant_is_due_in_the_first_second_and_not_in_half_of_it() {
    // Three coordinators with slow disks, seen in a right answer.
    assert_eq!(verdict(500, 500_646), Verdict::Passed);
    assert_eq!(verdict(1_000, 900_000), Verdict::Passed);
    assert_eq!(verdict(1_000, 1_100_000), Verdict::Slow);
}

#[test]
fn only_a_scenario_asks_its_faults_to_bite() {
    let schedule = [entry(aim(Phase::Request), 1, None, Fault::DropRequest)];
    let wanted = "[[faults]]\nkind = \"drop_request\"\naim = { method = \"Acquire\" }";
    assert_eq!(judged(500, 400_000, wanted, &schedule), Verdict::Inconclusive);
    // A schedule that was explored, on processes.
    assert_eq!(judged(500, 400_000, "", &schedule), Verdict::Passed);
}

#[test]
fn whoever_renews_a_lock_all_the_time_has_what_it_came_for() {
    let renewed = |result: &str, return_us: u64| {
        let operation = json!({
            "process": 1, "op": "renew", "key": "lock-1", "owner": "c1", "token": 3,
            "renew_no": 1, "lease_ms": 600, "call_us": 1000, "return_us": return_us,
            "result": result, "tries": [],
        });
        serde_json::from_value(operation).unwrap()
    };
    let lock = labs::workload("lock", &toml::Table::new()).unwrap();
    assert_eq!(lock.progress_us(&[renewed("ok", 2000), renewed("lost", 3000)]), [2000]);
}
