//! What the clients saw: every operation, from its first send to its last reply.

mod explain;
mod foreign;
mod json;
mod lines;
pub mod values;

use std::{
    fs::File,
    io::BufReader,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::lines::Processes;
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

/// More operations than this are refused: all that they say is kept.
const MOST_OPERATIONS: usize = 1_000_000;

/// Reads a history from JSON lines and checks that it could be one. `is_one` says what is wrong
/// with an operation that could be none.
///
/// # Errors
/// Names the file and the line that is not what it should be.
pub fn read(path: &Path, is_one: impl Fn(&Operation) -> Result<()>) -> Result<Vec<Operation>> {
    let (mut operations, mut processes) = (Vec::new(), Processes::default());
    lines::each(open(path)?, path, |line, number| {
        let operation: Operation = lines::parse(line)?;
        let Operation { process, call_us, return_us, .. } = operation;
        lines::has_returned(return_us, operation.result.is_some())?;
        processes.call(process, call_us, return_us, number)?;
        is_one(&operation)?;
        ensure!(
            operations.len() < MOST_OPERATIONS,
            "there are more than {MOST_OPERATIONS} operations: check a part of the file"
        );
        operations.push(operation);
        Ok(())
    })?;
    Ok(operations)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 16, file))
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
