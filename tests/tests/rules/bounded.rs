//! What a node of the key-value lab may keep and be sent: hand-made runs with a right verdict.

use std::collections::BTreeMap;

use harness::{fabric::record::Message, labs, workload::Evidence};
use prost::Message as _;
use proto::kv::{
    AppendEntriesRequest, Command, Entry, SnapshotRequest, VoteRequest, command::Operation,
};
use serde_json::json;
use tests::wire::frame;

/// n1 sends n2 something.
fn sent(method: &str, request: &impl prost::Message) -> Message {
    let message = json!({
        "id": 1, "copy": 0, "from": "n1", "to": "n2",
        "path": format!("/faultline.kv.v1.Peer/{method}"),
        "sent_us": 1_000_000, "delivered_us": null, "replied_us": null, "answered_us": null,
        "gave_up_us": null, "code": null, "lost": null, "request": "", "reply": null,
    });
    let message: Message = serde_json::from_value(message).unwrap();
    Message { request: frame(request).into(), ..message }
}

/// Ten entries of 10 KiB each, from `first` on.
fn entries(first: u64) -> Message {
    let operation = Some(Operation::Put("v".repeat(10 * 1024)));
    let command = Some(Command { session: None, key: "k".into(), operation });
    let entries = vec![Entry { term: 1, command }; 10];
    let (leader, term, prev_index) = ("n1".into(), 1, first - 1);
    let request = AppendEntriesRequest {
        leader,
        term,
        prev_index,
        prev_term: 1,
        entries,
        commit: prev_index,
    };
    assert!(request.encoded_len() > 100 * 1024);
    sent("AppendEntries", &request)
}

fn snapshot(kib: usize) -> Message {
    let data = vec![7; kib * 1024];
    let (leader, last_index) = ("n1".into(), 100);
    let (term, last_term, offset, done) = (1, 1, 0, true);
    let request = SnapshotRequest { leader, last_index, term, last_term, offset, data, done };
    sent("InstallSnapshot", &request)
}

fn found(check: &str, evidence: &Evidence) -> Option<String> {
    let kv = labs::workload("kv", &toml::Table::new()).unwrap();
    let charges = kv.judge(evidence, &[check.to_owned()], &BTreeMap::new());
    charges.findings.into_iter().next().map(|(_, finding)| finding.sentence)
}

fn traffic(messages: Vec<Message>, outages: usize) -> Option<String> {
    found("traffic_bounded", &Evidence { messages, outages, ..Evidence::default() })
}

#[test]
fn a_node_may_be_sent_the_log_once_and_some_of_it_again() {
    let log = || (0..20).map(|batch| entries(batch * 10 + 1));
    assert_eq!(traffic(log().collect(), 0), None);
    assert_eq!(traffic(log().chain(log()).collect(), 0), None);
    // The same ten entries over and over are no log that grows.
    let again = (0..20).map(|_| entries(1)).collect();
    let sentence = traffic(again, 0).unwrap();
    assert!(sentence.contains("n2 had been sent") && sentence.contains("100 KiB"), "{sentence}");
    // A copy is the harness's own.
    let copies = (0..20).map(|copy| Message { copy, ..entries(1) }).collect();
    assert_eq!(traffic(copies, 0), None);
}

#[test]
fn a_node_that_answers_is_not_sent_the_same_again_and_again() {
    let operation = Some(Operation::Put("v".into()));
    let command = Some(Command { session: None, key: "k".into(), operation });
    let append = |entries, answered_us| {
        let (leader, term, commit) = ("n1".into(), 1, 0);
        let request =
            AppendEntriesRequest { leader, term, prev_index: 7, prev_term: 1, entries, commit };
        Message { answered_us, ..sent("AppendEntries", &request) }
    };
    let one = vec![Entry { term: 1, command }];
    let times = |count, message: &Message| vec![message.clone(); count];
    let answered = append(one.clone(), Some(1_000_100));
    assert_eq!(traffic(times(20, &answered), 0), None);
    let sentence = traffic(times(21, &answered), 0).unwrap();
    assert!(sentence.contains("n1 had sent n2 the entries after 7 21 times"), "{sentence}");
    // Lost ones have to be sent again, and heartbeats carry nothing.
    assert_eq!(traffic(times(100, &append(one, None)), 0), None);
    assert_eq!(traffic(times(100, &append(Vec::new(), Some(1_000_100))), 0), None);
}

#[test]
fn a_node_that_asks_gives_the_others_time_to_answer() {
    let ask = |sent_us| {
        let request = VoteRequest { term: 2, candidate: "n1".into(), ..VoteRequest::default() };
        Message { sent_us, ..sent("RequestVote", &request) }
    };
    let every = |ms: u64| (0..50).map(|time| ask(time * ms * 1000)).collect::<Vec<_>>();
    // Each time that the shortest election timeout is over, before it stands and when it does.
    assert_eq!(traffic(every(75), 0), None);
    let sentence = traffic(every(10), 0).unwrap();
    assert!(sentence.contains("n1 asked n2 for its vote 21 times"), "{sentence}");
    let copies = every(10).into_iter().map(|message| Message { copy: 1, ..message });
    assert_eq!(traffic(copies.collect(), 0), None);
}

#[test]
fn a_leader_forgets_what_was_committed_long_ago() {
    let kept = |prev_term, entries, commit| {
        let (leader, term, prev_index) = ("n1".into(), 1, 1000);
        let request = AppendEntriesRequest { leader, term, prev_index, prev_term, entries, commit };
        let messages = vec![sent("AppendEntries", &request)];
        found("log_bounded", &Evidence { messages, ..Evidence::default() })
    };
    let one = || vec![Entry { term: 1, command: None }];
    assert_eq!(kept(1, one(), 1600), None);
    let sentence = kept(1, one(), 1601).unwrap();
    assert!(sentence.contains("still knew the entry 1000 at 1.000 s, when 1601"), "{sentence}");
    // A heartbeat shows it as well, unless it has no term to name.
    assert!(kept(1, Vec::new(), 1601).is_some());
    assert_eq!(kept(0, Vec::new(), 1601), None);
}

#[test]
fn a_snapshot_for_each_outage_is_fine_and_one_for_each_heartbeat_is_not() {
    let snapshots = |count| (0..count).map(|_| snapshot(1024)).collect();
    assert_eq!(traffic(snapshots(4), 3), None);
    assert!(traffic(snapshots(40), 3).is_some());
    assert!(traffic(snapshots(8), 0).is_some());
}

#[test]
fn a_disk_that_fills_is_found() {
    let on_disk = |mib: u64| {
        let stored_bytes = BTreeMap::from([("n1".into(), 1 << 20), ("n3".into(), mib << 20)]);
        found("disk_bounded", &Evidence { stored_bytes, ..Evidence::default() })
    };
    assert_eq!(on_disk(10), None);
    assert!(on_disk(300).unwrap().starts_with("n3 had 307200 KiB on its disk"));
}

#[test]
fn numbers_that_make_no_sense_are_judged_like_others() {
    let (leader, most) = ("n1".to_owned(), u64::MAX);
    let append = AppendEntriesRequest {
        leader: leader.clone(),
        term: most,
        prev_index: most,
        prev_term: most,
        entries: vec![Entry { term: most, command: None }; 2],
        commit: most,
    };
    let install = SnapshotRequest {
        leader,
        last_index: most,
        term: most,
        last_term: most,
        offset: most,
        data: vec![7],
        done: true,
    };
    let messages = vec![sent("AppendEntries", &append), sent("InstallSnapshot", &install)];
    let kv = labs::workload("kv", &toml::Table::new()).unwrap();
    let checks: Vec<_> = kv.checks().iter().map(|&check| check.to_owned()).collect();
    let evidence = Evidence { messages, outages: 2, ..Evidence::default() };
    let charges = kv.judge(&evidence, &checks, &BTreeMap::new());
    assert!(charges.findings.is_empty(), "{:?}", charges.findings);
}
