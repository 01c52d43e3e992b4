//! What the clients saw: every operation, from its first send to its last reply.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fabric::RunClock;

/// One operation of one client. Times are in microseconds since the start of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Which client; it has one operation at a time.
    pub process: u32,
    /// What it asked for: `acquire`.
    pub op: String,
    /// Of what.
    pub key: String,
    /// The rest of the question.
    #[serde(flatten)]
    pub details: Map<String, Value>,
    /// When it was first sent.
    pub call_us: u64,
    /// When the client knew the result; `None` if it never did, so that the operation may have
    /// happened at any time after the call, or never.
    pub return_us: Option<u64>,
    /// What it came to.
    pub result: Option<Value>,
    /// Every time it was sent.
    pub tries: Vec<Try>,
}

/// One sending of an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Try {
    /// To which node.
    pub node: String,
    /// When.
    pub call_us: u64,
    /// When the client had the answer, or stopped waiting.
    pub return_us: u64,
    /// The answer, as the client understood it.
    pub answer: Value,
}

impl Try {
    /// Whether no node answered: a timeout, or an error on the way.
    pub fn is_unanswered(&self) -> bool {
        self.answer == "timeout" || self.answer.get("error").is_some()
    }
}

/// The history of one run, written by all its clients; cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    clock: RunClock,
    operations: Arc<Mutex<Vec<Operation>>>,
}

/// An operation under way. Dropping it leaves it without a result, for ever.
#[derive(Debug)]
pub struct Pending {
    history: History,
    index: usize,
}

impl History {
    /// A history without operations.
    pub fn new(clock: RunClock) -> Self {
        Self { clock, operations: Arc::default() }
    }

    /// The client `process` calls `op` on `key` now.
    pub fn call(&self, process: u32, op: &str, key: &str, details: Map<String, Value>) -> Pending {
        let operation = Operation {
            process,
            op: op.to_owned(),
            key: key.to_owned(),
            details,
            call_us: self.clock.now_us(),
            return_us: None,
            result: None,
            tries: Vec::new(),
        };
        let mut operations = self.operations.lock().expect("no holder of this lock panics");
        operations.push(operation);
        Pending { history: self.clone(), index: operations.len() - 1 }
    }

    /// Every operation so far, in the order of their calls.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("no holder of this lock panics").clone()
    }
}

impl Pending {
    /// The operation was sent to `node` at `call_us`, and this came of it by now.
    pub fn tried(&self, node: &str, call_us: u64, answer: Value) {
        let return_us = self.history.clock.now_us();
        let attempt = Try { node: node.to_owned(), call_us, return_us, answer };
        self.with(|operation| operation.tries.push(attempt));
    }

    /// The client knows the result now.
    pub fn returned(self, result: Value) {
        let return_us = self.history.clock.now_us();
        self.with(|operation| {
            operation.return_us = Some(return_us);
            operation.result = Some(result);
        });
    }

    fn with(&self, change: impl FnOnce(&mut Operation)) {
        let mut operations = self.history.operations.lock().expect("no holder panics");
        change(&mut operations[self.index]);
    }
}
