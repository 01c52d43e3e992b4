//! Which values are equal, what comes first, and that what is said is true.

use std::time::{Duration, Instant};

use super::{ACQUIRE, get, judged, lock, put, refused};

#[test]
fn values_are_equal_if_their_json_is() {
    for (written, read, is_equal) in [
        ("[1, 2]", "[1,2]", true),
        ("[1,2]", "[2,1]", false),
        (r#"{"a": 1, "b": [null]}"#, r#"{"b":[null],"a":1.0}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
        (r#"{"a":{"c":1,"b":2}}"#, r#"{"a":{"b":2,"c":1}}"#, true),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true),
        ("1", "1.0", true),
        ("1", "1e0", true),
        ("100", "1E+2", true),
        ("0.1", "1e-1", true),
        ("-0", "0", true),
        ("-0.0e9", "0", true),
        ("1", "-1", false),
        ("1", "\"1\"", false),
        ("true", "\"true\"", false),
        ("[]", "\"[]\"", false),
        ("[]", "{}", false),
        ("9007199254740993", "9007199254740992", false),
        ("123456789012345678901234567890", "123456789012345678901234567891", false),
        ("123456789012345678901234567890", "12345678901234567890123456789e1", true),
        ("0.1", "0.10000000000000001", false),
        (r#""\u0041\/""#, r#""A/""#, true),
        (r#""\ud83d\ude00""#, "\"😀\"", true),
        (r#"["\u0041"]"#, r#"["A"]"#, true),
        (r#"{"\u0041":1}"#, r#"{"A":1}"#, true),
        ("\"a \"", "\"a\"", false),
    ] {
        for (one, other) in [(written, read), (read, written)] {
            let (code, said) = judged(&[put(1, one, [0, 9]), get(1, other, [10, 19])], "register");
            assert_eq!(code, i32::from(!is_equal), "{one} and {other}: {said}");
        }
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    refused(put(1, &deep, [0, 9]), "kv", &[":1: a value is nested more than 128 deep"]);
    refused(put(1, "1e99999999999999999999", [0, 9]), "kv", &[":1: ", "too large an exponent"]);
    let half = r#"["\ud800"]"#;
    refused(put(1, half, [0, 9]), "kv", &[":1: "]);
}

#[test]
fn one_process_does_one_thing_after_the_other() {
    let before = put(1, "1", [0, 5]);
    let reads =
        |process, value, times| judged(&[before.clone(), get(process, value, times)], "kv").0;
    assert_eq!(reads(1, "null", [5, 9]), 1);
    assert_eq!(reads(1, "1", [5, 9]), 0);
    // Between two processes, what touches is concurrent.
    assert_eq!(reads(2, "null", [5, 9]), 0);
    assert_eq!(reads(2, "1", [5, 9]), 0);
    assert_eq!(reads(2, "null", [6, 9]), 1);
    // At one moment, in the order of the lines.
    let at = |first: String, second: String| judged(&[before.clone(), first, second], "kv").0;
    assert_eq!(at(put(1, "2", [5, 5]), get(1, "2", [5, 5])), 0);
    assert_eq!(at(put(1, "2", [5, 5]), get(1, "1", [5, 5])), 1);
    assert_eq!(at(get(1, "1", [5, 5]), put(1, "2", [5, 5])), 0);
    assert_eq!(at(get(1, "2", [5, 5]), put(1, "2", [5, 5])), 1);
    // Also by way of another key.
    let elsewhere = put(1, "2", [5, 5]).replace("\"x\"", "\"y\"");
    assert_eq!(at(elsewhere, get(1, "null", [5, 9])), 1);
    // After an operation that never returned there is no such order: it may happen later.
    let open = put(1, "2", [5, 9]).replace("9,\"result\":{\"ok\":true}", "null,\"result\":null");
    assert_eq!(at(open, get(1, "1", [5, 9])), 0);
    refused(
        [put(1, "1", [0, 5]), get(1, "1", [4, 9])].join("\n"),
        "kv",
        &[":2: process 1 calls while"],
    );
    refused(
        [put(1, "1", [5, 9]), get(1, "1", [4, 4])].join("\n"),
        "kv",
        &[":2: ", "in the order of their calls"],
    );
    refused(
        [lock(1, ACQUIRE, [5, 9], "\"stale\""), lock(1, ACQUIRE, [4, 4], "\"stale\"")].join("\n"),
        "lock",
        &[":2: "],
    );
}

#[test]
fn one_process_does_one_thing_after_the_other_with_locks_too() {
    let grant = |process, times, token: u64| {
        lock(
            process,
            &ACQUIRE.replace(":1,", &format!(":{token},")),
            times,
            &format!("{{\"granted\":{token}}}"),
        )
    };
    let release = |process, times| lock(process, r#""op":"release","token":7"#, times, "\"ok\"");
    let goes_back = |process| {
        judged(&[grant(1, [0, 5], 7), release(1, [5, 5]), grant(process, [5, 9], 6)], "lock")
    };
    assert_eq!(goes_back(1).0, 1, "{}", goes_back(1).1);
    assert!(goes_back(1).1.contains("token 7 had been told"), "{}", goes_back(1).1);
    assert_eq!(goes_back(2).0, 0, "{}", goes_back(2).1);
    let write = lock(1, r#""op":"write","token":7,"seq":1,"value":"v""#, [5, 9], "\"ok\"");
    let read = |process, times| {
        lock(process, r#""op":"read""#, times, r#"{"token":0,"seq":0,"value":""}"#)
    };
    assert_eq!(judged(&[write.clone(), read(1, [9, 12])], "lock").0, 1);
    assert_eq!(judged(&[write.clone(), read(2, [9, 12])], "lock").0, 0);
    // Before the first write there is nothing to read.
    let junk = lock(1, r#""op":"read""#, [0, 5], r#"{"token":0,"seq":0,"value":"v"}"#);
    assert_eq!(judged(&[junk], "lock").0, 1);
    // What is sent when an older one is told FENCED may have been first.
    let fenced = lock(2, r#""op":"write","token":6,"seq":1,"value":"w""#, [0, 5], "\"fenced\"");
    assert_eq!(judged(&[fenced, write], "lock").0, 0);
}

#[test]
fn the_order_of_the_lines_counts_for_what_one_process_writes_and_reads_at_one_moment() {
    let write = |process, token: u64, times, result| {
        let rest = format!(r#""op":"write","token":{token},"seq":1,"value":"v{token}""#);
        lock(process, &rest, times, result)
    };
    let read = |process, token: u64, times| {
        let value = if token == 0 { String::new() } else { format!("v{token}") };
        let result = format!(r#"{{"token":{token},"seq":{},"value":"{value}"}}"#, token.min(1));
        lock(process, r#""op":"read""#, times, &result)
    };
    let code = |lines: &[String]| judged(lines, "lock").0;
    let (ok, fenced) = ("\"ok\"", "\"fenced\"");
    // A stale read after a write, or after a read; with others it is concurrent.
    for (process, expected) in [(1, 1), (2, 0)] {
        assert_eq!(code(&[write(1, 7, [5, 5], ok), read(process, 0, [5, 9])]), expected);
        assert_eq!(code(&[write(1, 7, [5, 5], ok), read(process, 0, [5, 5])]), expected);
        let seen = [write(3, 7, [0, 9], ok), read(1, 7, [5, 5]), read(process, 0, [5, 5])];
        assert_eq!(code(&seen), expected);
        // An older token's write after a newer one's.
        assert_eq!(code(&[write(1, 7, [5, 5], ok), write(process, 6, [5, 9], ok)]), expected);
        // Fenced off by what was only sent then.
        let barred = [write(1, 6, [0, 5], fenced), write(process, 7, [5, 9], ok)];
        assert_eq!(code(&barred), expected);
    }
    // The other way round all of it is right.
    assert_eq!(code(&[read(1, 0, [5, 5]), write(1, 7, [5, 5], ok)]), 0);
    assert_eq!(code(&[write(1, 6, [5, 5], ok), write(1, 7, [5, 9], ok)]), 0);
    assert_eq!(code(&[write(1, 7, [5, 5], ok), write(1, 6, [5, 5], fenced)]), 0);
    // Somebody else's is older than one's own, and the other way round.
    let newest = |process| {
        [write(1, 7, [0, 1], ok), write(2, 6, [0, 1], ok), read(process, 6, [3, 4])].to_vec()
    };
    assert_eq!((code(&newest(1)), code(&newest(2)), code(&newest(3))), (1, 1, 1));
    // One request may be told two tokens here; no later one goes below the higher of them.
    let grant = |request: u64, times, token: u64| {
        let rest = ACQUIRE.replace(":1,", &format!(":{request},"));
        lock(1, &rest, times, &format!("{{\"granted\":{token}}}"))
    };
    assert_eq!(code(&[grant(1, [0, 5], 9), grant(1, [5, 5], 7), grant(2, [5, 9], 8)]), 1);
    // Who is told that a lease is lost and then releases it had relied on it; not the other way.
    let granted = || grant(1, [0, 1], 7);
    let lost = |times| lock(1, r#""op":"renew","token":7,"lease_ms":500"#, times, "\"lost\"");
    let release = |process, times| {
        let release = lock(process, r#""op":"release","token":7"#, times, "\"ok\"");
        release.replace(&format!("c{process}"), "c1")
    };
    assert_eq!(code(&[granted(), lost([2, 5]), release(1, [5, 9])]), 1);
    assert_eq!(code(&[granted(), lost([2, 5]), release(2, [5, 9])]), 0);
    assert_eq!(code(&[granted(), release(1, [5, 5]), lost([5, 5])]), 0);
}

#[test]
fn many_operations_on_one_lock_at_one_moment_are_judged_soon() {
    let count = 20_000;
    let write = |process, token: u64, number: u64, times, result| {
        let rest = format!(r#""op":"write","token":{token},"seq":{number},"value":"v{number}""#);
        lock(process, &rest, times, result)
    };
    let read = |process, token: u64, seq: u64, times| {
        let result = format!(r#"{{"token":{token},"seq":{seq},"value":"v{seq}"}}"#);
        lock(process, r#""op":"read""#, times, &result)
    };
    let numbers = || 1..=count;
    let writes = numbers().map(|at| write(at as u32, 1, at, [5, 5], "\"ok\""));
    let reads = numbers().map(|at| read((count + at) as u32, 1, count, [5, 5]));
    let touching: Vec<_> = writes.chain(reads).collect();
    let unknown = |at: u64| {
        let late = write(at as u32, 1, at, [10, 11], "null");
        late.replace(r#""return_us":11"#, r#""return_us":null"#)
    };
    let newer = write(0, 9, count, [0, 1], "\"ok\"");
    let reads = numbers().map(|at| read((count + at) as u32, 9, count, [10, 20]));
    let late: Vec<_> = [newer].into_iter().chain(numbers().map(unknown)).chain(reads).collect();
    // What it takes to build the program does not count.
    tests::program();
    for lines in [touching, late] {
        let started = Instant::now();
        let (code, said) = judged(&lines, "lock");
        assert_eq!(code, 0, "{said}");
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

#[test]
fn what_is_said_of_an_impossible_history_is_true() {
    // Nothing had been there for long when somebody read what nobody wrote.
    let (code, said) = judged(&[put(1, "\"a\"", [0, 5]), get(1, "\"b\"", [10, 19])], "register");
    assert!(code == 1 && said.contains("nobody had written that"), "{said}");
    assert!(!said.contains("nothing"), "{said}");
    // The put of b is under way all the time: that a is read after b was is fine, once.
    let lines = [
        put(1, "\"b\"", [0, 30]),
        put(2, "\"a\"", [0, 1]),
        get(3, "\"b\"", [0, 3]),
        get(4, "\"a\"", [10, 11]),
        get(5, "\"b\"", [20, 21]),
    ];
    let (code, said) = judged(&lines, "register");
    assert!(code == 1 && said.contains("(line 5,"), "{said}");
    assert_eq!(judged(&lines[..4], "register").0, 0);
    // A stale read is to blame, not the put that came before it.
    let lines = [
        put(1, "\"a\"", [0, 5]),
        put(1, "\"b\"", [10, 15]),
        put(1, "\"b\"", [20, 25]),
        get(1, "\"a\"", [30, 35]),
    ];
    let (code, said) = judged(&lines, "register");
    assert!(
        code == 1 && said.contains("(line 4,") && said.contains("could have been \"b\""),
        "{said}"
    );
    // More than can be told.
    let mut lines: Vec<String> =
        (0..30).map(|value| put(value, &value.to_string(), [0, 50])).collect();
    lines.push(get(90, "30", [60, 70]));
    lines.push(put(91, "30", [80, 90]));
    let (code, said) = judged(&lines, "register");
    assert!(code == 1 && said.contains("nobody had written that"), "{said}");
}
