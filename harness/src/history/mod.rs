//! What the clients saw: every operation, from its first send to its last reply.

mod explain;
pub mod values;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{fabric::RunClock, files::read_lines};

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
    /// Every time it was sent; a history that was not written here need not have any.
    #[serde(default)]
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

/// Reads a history from JSON lines and checks that it could be one.
///
/// # Errors
/// Names the file and the line that is not what it should be.
pub fn read(path: &Path) -> Result<Vec<Operation>> {
    let operations: Vec<Operation> = read_lines(path)?;
    let mut free_us: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
    let mut by_call: Vec<_> = operations.iter().zip(1..).collect();
    by_call.sort_by_key(|(operation, _)| operation.call_us);
    for (operation, line) in by_call {
        let Operation { process, call_us, return_us, .. } = operation;
        let place = || format!("{}:{line}", path.display());
        let return_us = return_us.unwrap_or(u64::MAX);
        ensure!(return_us >= *call_us, "{}: return_us comes before call_us", place());
        let (until_us, earlier) = free_us.get(process).copied().unwrap_or_default();
        // An operation that never returned lasts until its client goes on to the next one.
        ensure!(
            until_us == u64::MAX || until_us <= *call_us,
            "{}: process {process} calls while its operation of line {earlier} is under way",
            place()
        );
        free_us.insert(*process, (return_us, line));
    }
    Ok(operations)
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

    /// The clock that it is written by.
    pub fn clock(&self) -> &RunClock {
        &self.clock
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
