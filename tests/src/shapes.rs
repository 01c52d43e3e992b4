//! Histories as clients make them that always have an operation under way: for tests and benchmarks
//! of the linearizability checker.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// What kind of history is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many operations it has.
    pub operations: usize,
    /// By how many clients.
    pub clients: usize,
    /// On how many keys.
    pub keys: usize,
    /// In how many of a hundred operations the client never learns what came of it.
    pub timeouts: u32,
    /// Of ten operations, how many are puts; the rest are gets.
    pub puts: u32,
    /// How many are appends.
    pub appends: u32,
    /// How many are compare-and-sets.
    pub cas: u32,
    /// From how many values a put chooses; 0: every one is new.
    pub values: u32,
    /// Whether one answer is made a wrong one.
    pub bad: bool,
}

impl Shape {
    /// A register whose every value is new.
    pub const REGISTER: Self = Self {
        operations: 100_000,
        clients: 5,
        keys: 1,
        timeouts: 0,
        puts: 5,
        appends: 0,
        cas: 0,
        values: 0,
        bad: false,
    };

    /// The operations of one history, in the order of their calls; each takes effect at a moment
    /// while it is under way.
    pub fn draw(&self, seed: u64) -> Vec<Value> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut free_at = vec![0_u64; self.clients];
        // A client that never learned goes on under another name.
        let mut names: Vec<usize> = (0..self.clients).collect();
        let mut drawn = Vec::with_capacity(self.operations);
        for number in 0..self.operations {
            let client = (0..self.clients).min_by_key(|client| free_at[*client]).expect("some");
            let call_us = free_at[client];
            let return_us = call_us + random.random_range(50..1000);
            let moment_us = random.random_range(call_us..=return_us);
            free_at[client] = return_us + random.random_range(1..5);
            let times_out = random.random_range(0..100) < self.timeouts;
            drawn.push((moment_us, number, names[client], call_us, return_us, times_out));
            if times_out {
                names[client] = self.clients + number;
            }
        }
        drawn.sort_unstable();
        let mut state = vec![None::<String>; self.keys];
        let mut lines = Vec::with_capacity(drawn.len());
        for (_, number, process, call_us, return_us, times_out) in drawn {
            let key = random.random_range(0..self.keys);
            // Half of those that time out never happen.
            let happens = !times_out || random.random_range(0..2) == 0;
            let (mut line, told) = self.operate(&mut random, number, &mut state[key], happens);
            line["process"] = json!(process);
            line["key"] = json!(format!("k{key}"));
            line["call_us"] = json!(call_us);
            line["return_us"] = if times_out { Value::Null } else { json!(return_us) };
            line["result"] = if times_out { Value::Null } else { told };
            lines.push((call_us, line));
        }
        lines.sort_by_key(|(call_us, _)| *call_us);
        let mut lines: Vec<Value> = lines.into_iter().map(|(_, line)| line).collect();
        if self.bad {
            spoil(&mut lines);
        }
        lines
    }

    /// One operation, and what it is told.
    fn operate(
        &self,
        random: &mut StdRng,
        number: usize,
        state: &mut Option<String>,
        happens: bool,
    ) -> (Value, Value) {
        let mut value = || match self.values {
            0 => format!("v{number}"),
            values => format!("v{}", random.random_range(0..values)),
        };
        let (new, other) = (value(), value());
        let draw = random.random_range(0..10);
        if draw < self.puts {
            if happens {
                *state = Some(new.clone());
            }
            return (json!({ "op": "put", "value": new }), json!({ "ok": true }));
        }
        if draw < self.puts + self.appends {
            if happens {
                // Kept short by starting anew now and then.
                *state = Some(state.clone().unwrap_or_default() + &new);
            }
            return (json!({ "op": "append", "value": new }), json!({ "ok": true }));
        }
        if draw < self.puts + self.appends + self.cas {
            let expected = match random.random_range(0..2) {
                0 => state.clone(),
                _ => Some(other),
            };
            let ok = *state == expected;
            if ok && happens {
                *state = Some(new.clone());
            }
            let line = json!({ "op": "cas", "expected": expected, "value": new });
            return (line, json!({ "ok": ok }));
        }
        (json!({ "op": "get" }), json!({ "value": *state }))
    }
}

/// Compare-and-sets that are all under way at once, between a dozen values. Every way through all
/// of them ends where it began, but a read tells otherwise: there are more ways to try than steps
/// or memory for them.
pub fn knot() -> Vec<Value> {
    let name = |number: u32| format!("v{}", number % 12);
    let cas = |process: u32| {
        let (from, to) = (name(process), name(process * 5 + process / 12 + 1));
        let times = json!({ "call_us": 10, "return_us": 100, "result": { "ok": true } });
        let mut line = json!({ "process": process, "op": "cas", "key": "x", "expected": from });
        line["value"] = json!(to);
        line.as_object_mut()
            .expect("it is one")
            .extend(times.as_object().cloned().expect("so is it"));
        line
    };
    let first = json!({
        "process": 0, "op": "put", "key": "x", "value": "v0", "call_us": 0, "return_us": 1,
        "result": { "ok": true },
    });
    let last = json!({
        "process": 0, "op": "get", "key": "x", "call_us": 110, "return_us": 120,
        "result": { "value": "v1" },
    });
    [first].into_iter().chain((1..61).map(cas)).chain([last]).collect()
}

/// A read in the last tenth sees what was there in the first; where nobody reads, a compare-and-set
/// in the middle is told the contrary.
fn spoil(lines: &mut [Value]) {
    let is_get = |line: &Value| line["op"] == "get" && !line["result"]["value"].is_null();
    if let Some(early) = lines.iter().find(|line| is_get(line)).cloned() {
        let late = lines.iter_mut().rev().find(|it| is_get(it) && it["key"] == early["key"]);
        late.expect("and again")["result"] = early["result"].clone();
        return;
    }
    let failed = |line: &&mut Value| line["result"]["ok"] == false;
    let half = lines.len() / 2;
    let failed = lines[half..].iter_mut().find(failed).expect("some fail");
    failed["result"]["ok"] = json!(true);
}
