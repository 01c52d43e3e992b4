//! What the lock's workload makes of messages: hand-made runs with a right verdict.

use std::collections::BTreeMap;

use harness::{
    fabric::record::Message,
    workload::{self, Evidence},
};
use proto::lock::{AcquireReply, AcquireRequest, Granted, acquire_reply::Outcome};
use serde_json::json;
use tests::wire::frame;

/// `owner` asks n1 for the lock at a moment and is told a token at another.
fn granted(owner: &str, asked_us: u64, told_us: u64, token: u64) -> Message {
    let request =
        AcquireRequest { name: "lock-1".into(), owner: owner.into(), request_no: 1, lease_ms: 600 };
    let reply = AcquireReply { outcome: Some(Outcome::Granted(Granted { token })) };
    let message = json!({
        "id": token, "copy": 0, "from": owner, "to": "n1", "path": "/faultline.lock.v1.Lock/Acquire",
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
    let lock = workload::named("lock", &toml::Table::new()).unwrap();
    let bounds = BTreeMap::from([("granted_again".to_owned(), 1_000_000)]);
    !lock.judge(&evidence, &[], &bounds).lates.is_empty()
}

#[test]
fn a_lease_granted_late_by_a_slow_node_is_over_late() {
    // Told at 1.3 s, so it may run until 1.9 s, though it was asked for at the very start.
    assert!(!is_slow(vec![granted("c1", 0, 1_300_000, 1), granted("c2", 650_000, 1_950_000, 2)]));
    assert!(is_slow(vec![granted("c1", 0, 2_000, 1), granted("c2", 650_000, 1_950_000, 2)]));
}
