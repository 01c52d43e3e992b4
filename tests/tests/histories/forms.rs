//! What is a history in its form, and what is refused.

use super::{ACQUIRE, checked, get, judged, lock, of, put, refused};

#[test]
fn nothing_is_no_history() {
    for model in ["register", "cas-register", "kv", "lock"] {
        for nothing in ["", "\n", "  \n\r\n\t\n", "\u{feff}", "\u{feff}\n\n"] {
            let parts = ["history.jsonl holds no operation", "JSON lines", "docs/histories.md"];
            refused(nothing, model, &parts);
        }
    }
}

#[test]
fn a_lock_history_says_all_that_is_judged() {
    let good = lock(1, ACQUIRE, [0, 9], r#"{"granted":1}"#);
    refused([&good, &put(1, "1", [10, 20])[..]].join("\n"), "lock", &[":2: op \"put\" is unknown"]);
    refused(get(1, "null", [0, 9]), "lock", &[":1: op \"get\"", "acquire, renew, release, write"]);
    for result in [
        "7",
        "{}",
        "\"ok\"",
        "[]",
        "true",
        r#"{"granted":"1"}"#,
        r#"{"granted":-1}"#,
        r#"{"granted":1.5}"#,
        r#"{"granted":null}"#,
        r#"{"held":7}"#,
        r#"{"grant":1}"#,
        r#"{"granted":1,"held":"c2"}"#,
    ] {
        refused(
            lock(1, ACQUIRE, [0, 9], result),
            "lock",
            &[":1: the acquire has a result", "{\"granted\": TOKEN}"],
        );
    }
    for (op, result) in [
        (r#""op":"renew","token":1,"lease_ms":5"#, "\"yes\""),
        (r#""op":"release","token":1"#, "\"lost\""),
        (r#""op":"write","token":1,"seq":1,"value":"v""#, "\"stale\""),
        (r#""op":"read""#, r#"{"token":1,"seq":1}"#),
        (r#""op":"read""#, r#"{"token":1,"seq":"1","value":"v"}"#),
    ] {
        refused(lock(1, op, [0, 9], result), "lock", &[":1: the ", "has a result that is none"]);
    }
    for (op, part) in [
        (r#""op":"acquire","request_no":1"#, "needs lease_ms"),
        (r#""op":"acquire","lease_ms":500"#, "needs request_no"),
        (r#""op":"acquire","request_no":"1","lease_ms":500"#, "needs request_no, a number"),
        (r#""op":"acquire","request_no":1,"lease_ms":4294967296"#, "longer than 4294967295"),
        (r#""op":"renew","lease_ms":500"#, "needs token"),
        (r#""op":"release"#, "needs token"),
        (r#""op":"write","token":1,"seq":1,"value":7"#, "needs value, a string"),
        (r#""op":"write","token":1,"seq":-1,"value":"v""#, "needs seq"),
    ] {
        let op = if op == r#""op":"release"# { r#""op":"release""# } else { op };
        refused(lock(1, op, [0, 9], "\"ok\""), "lock", &[":1: ", part]);
    }
    refused(of(1, ACQUIRE, [0, 9], r#"{"granted":1}"#), "lock", &["needs owner"]);
}

#[test]
fn what_a_run_of_the_lock_lab_writes_is_a_history() {
    let open = lock(1, ACQUIRE, [0, 9], "null").replace("\"return_us\":9", "\"return_us\":null");
    let tries = r#""tries":[{"node":"n1","call_us":57,"return_us":60,"answer":"timeout"}],"key""#;
    let lines = [
        open.replace("\"key\"", tries),
        lock(2, ACQUIRE, [0, 9], r#"{"held":"c3","retry_after_ms":25}"#),
        lock(3, ACQUIRE, [0, 9], r#"{"granted":18446744073709551615}"#),
        lock(4, ACQUIRE, [0, 9], r#""stale""#),
        lock(
            3,
            r#""op":"renew","token":18446744073709551615,"renew_no":1,"lease_ms":500"#,
            [10, 19],
            "\"ok\"",
        ),
        lock(
            3,
            r#""op":"write","token":18446744073709551615,"seq":1,"value":"v""#,
            [20, 29],
            "\"ok\"",
        ),
        lock(4, r#""op":"write","token":1,"seq":1,"value":"w""#, [20, 29], "\"fenced\""),
        lock(
            2,
            r#""op":"read""#,
            [30, 39],
            r#"{"token":18446744073709551615,"seq":1,"value":"v"}"#,
        ),
        lock(3, r#""op":"release","token":18446744073709551615"#, [30, 39], "\"ok\""),
    ];
    assert_eq!(judged(&lines, "lock"), (0, "linearizable: 9 operations".into()));
}

#[test]
fn a_history_of_values_says_what_came_of_each_operation() {
    let result = |op: &str, result: &str| of(1, op, [0, 9], result);
    let put = r#""op":"put","value":"v""#;
    for (line, part) in [
        (result(put, r#"{"ok":false}"#), "leave out what failed for certain"),
        (result(put, "{}"), "result of a put that returned is {\"ok\": true}"),
        (result(put, "null"), "return_us is there and result is not"),
        (result(put, "\"ok\""), "a result, {\"ok\": true}"),
        (result(r#""op":"delete""#, r#"{"ok":null}"#), "result of a delete that returned"),
        (result(r#""op":"get""#, "null"), "return_us is there and result is not"),
        (result(r#""op":"get""#, r#"{"ok":true}"#), "a get that returned needs result.value"),
        (result(r#""op":"get""#, r#"{"ok":false,"value":1}"#), "leave out what failed"),
        (result(r#""op":"cas","value":1,"expected":2"#, r#"{"value":1}"#), "needs result.ok"),
        (result(r#""op":"cas","value":1"#, r#"{"ok":true}"#), "a cas needs expected"),
        (result(r#""op":"put","value":null"#, r#"{"ok":true}"#), "use delete"),
        (
            result(put, r#"{"ok":true}"#).replace("\"return_us\":9,", ""),
            "result is there and return_us is not",
        ),
        (result(put, r#"{"ok":true}"#).replace("\"process\":1", "\"process\":-1"), "invalid value"),
        (result(put, r#"{"ok":true}"#).replace("\"x\"", "7"), "invalid type"),
        ("[1]\n".replace("[1]", "7"), "an operation"),
    ] {
        refused(line, "kv", &[":1: ", part]);
    }
    let append =
        |value: &str| of(1, &format!(r#""op":"append","value":{value}"#), [0, 9], r#"{"ok":true}"#);
    refused(append("3"), "kv", &["line 1 appends to x", "are strings or null"]);
    refused(
        [append("\"a\""), get(1, "[\"a\"]", [10, 19])].join("\n"),
        "kv",
        &[":2: line 1 appends"],
    );
}

#[test]
fn times_have_an_end() {
    let latest = (1_u64 << 63) - 1;
    for too_late in [1 << 63, u64::MAX - 1, u64::MAX] {
        let parts = [":1: ", "is too late a time: the latest is 9223372036854775807"];
        refused(get(1, "null", [0, too_late]), "register", &parts);
        refused(put(1, "1", [too_late, too_late]), "kv", &parts);
        refused(lock(1, ACQUIRE, [too_late, too_late], r#"{"granted":1}"#), "lock", &parts);
        let open = put(1, "1", [too_late, 9]).replace("9,\"result\":{\"ok\":true}", "null");
        refused(open, "kv", &[":1: "]);
    }
    refused(get(1, "null", [0, 9]).replace(":9,", ":18446744073709551616,"), "kv", &["invalid"]);
    refused(get(1, "null", [0, 9]).replace(":9,", ":9.5,"), "kv", &["invalid type"]);
    // Up to then, everything is judged as always.
    let lines = [put(1, "1", [0, latest - 1]), get(2, "1", [latest, latest])];
    assert_eq!(judged(&lines, "register").0, 0);
    let lines = [put(1, "1", [0, latest - 1]), get(2, "null", [latest, latest])];
    let (code, said) = judged(&lines, "register");
    assert!(code == 1 && said.contains("9223372036854.775 s"), "{said}");
    let longest = r#""op":"acquire","request_no":1,"lease_ms":4294967295"#;
    let late = lock(1, longest, [latest, latest], r#"{"granted":1}"#);
    let other = lock(2, longest, [latest, latest], r#"{"granted":2}"#);
    let (code, said) = judged(&[late, other], "lock");
    assert!(code == 1 && said.contains("HELD"), "{said}");
}

#[test]
fn another_form_is_named_and_refused() {
    let history = put(1, "1", [0, 9]);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let utf16_be: Vec<u8> = history.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let edn = r"{:type :invoke, :f :read, :value nil, :process 0, :time 3291485317, :index 0}";
    for (bytes, form) in [
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "gzip"),
        (b"\x28\xb5\x2f\xfd\x04\x58".to_vec(), "zstd"),
        (b"PK\x03\x04".to_vec(), "zip"),
        (utf16(&format!("\u{feff}{history}")), "UTF-16"),
        (utf16(&history), "UTF-16"),
        (utf16_be, "UTF-16"),
        (edn.into(), "EDN"),
        (format!("[{edn}\n {edn}]").into(), "EDN"),
        (b"#jepsen.history.Op{:index 0, :type :invoke}".to_vec(), "EDN"),
        (b"0\t:invoke\t:read\tnil".to_vec(), "history.txt"),
        (b"INFO  jepsen.util - 0\t:invoke\t:read\tnil".to_vec(), "Porcupine"),
        (
            br#"{"type":"invoke","f":"read","value":null,"process":0,"time":1}"#.to_vec(),
            "Jepsen's JSON",
        ),
        (br#"{"ClientId":0,"Input":1,"Call":0,"Output":2,"Return":9}"#.to_vec(), "Porcupine's"),
        (format!("[{history}]").into(), "a JSON array"),
        (b"\n[\n  {".to_vec(), "a JSON array"),
        (b"{\n  \"process\": 1,".to_vec(), "spread over lines"),
        (b"<!DOCTYPE html>".to_vec(), "HTML"),
    ] {
        for model in ["kv", "lock"] {
            refused(
                &bytes,
                model,
                &["this seems to be ", form, "JSON lines in UTF-8", "docs/histories.md"],
            );
        }
    }
    refused(
        "process,op,key\n1,get,x\n",
        "kv",
        &[":1: expected value at column 1", "docs/histories.md"],
    );
    // What is ours but for the way it is written down.
    let windows = format!("\u{feff}{history}\r\n\r\n{}\r\n", get(1, "1", [10, 19]));
    let done = checked(windows, "kv");
    assert_eq!(
        (done.code, done.stdout.trim()),
        (0, "linearizable: 2 operations"),
        "{}",
        done.stderr
    );
}
