//! Histories of values (get, put, append, cas, delete) from JSON lines: read once, line by line, in
//! bounded memory, each mistake with its line.

use std::{borrow::Cow, io::BufRead, path::Path, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    checker::linearizable::{ABSENT, Action, Cas, NEVER, Operation, Value, Values},
    history::{self, json, lines, lines::Processes},
};

/// More operations than this are refused: they would take more memory than a laptop has to spare.
const MOST_OPERATIONS: usize = 8_000_000;
/// And so are more bytes of keys and values.
const MOST_TEXT: usize = 512 << 20;

/// What may be done to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// `get` and `put`.
    Register,
    /// `cas` as well.
    CasRegister,
    /// `append` and `delete` as well.
    #[default]
    Kv,
}

impl Model {
    fn operations(self) -> &'static [&'static str] {
        match self {
            Self::Register => &["get", "put"],
            Self::CasRegister => &["get", "put", "cas"],
            Self::Kv => &["get", "put", "append", "cas", "delete"],
        }
    }
}

/// A history of values, key by key.
#[derive(Debug, Default)]
pub struct ValueHistory {
    /// The keys' names.
    pub names: Vec<Arc<str>>,
    /// The operations on each key that say anything, in the order of the file.
    pub keys: Vec<Vec<Operation>>,
    /// The line of each operation, from 1.
    pub lines: Vec<Vec<u32>>,
    /// The values by number.
    pub values: Values,
    /// How many operations were read, reads without a result among them.
    pub operations: usize,
}

#[derive(Deserialize)]
#[serde(expecting = "an operation, {\"process\": 1, \"op\": \"get\", ...}")]
struct Line<'a> {
    process: u32,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    expected: Option<&'a RawValue>,
    call_us: u64,
    return_us: Option<u64>,
    #[serde(borrow)]
    result: Option<Told<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "a result, {\"ok\": true} or {\"value\": ...}")]
struct Told<'a> {
    ok: Option<bool>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    value: Option<&'a RawValue>,
}

/// A null that is written is something else than a field that is not there.
fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the history in `path`.
///
/// # Errors
/// Names the file and the line that is not what it should be.
pub fn read(path: &Path, model: Model) -> Result<ValueHistory> {
    parse(history::open(path)?, path, model)
}

impl ValueHistory {
    /// The history of a run.
    ///
    /// # Errors
    /// When there is more of it than can be judged, or an operation that the model does not know.
    pub fn of(operations: &[history::Operation], model: Model) -> Result<Self> {
        let mut reader = Reader { model, ..Reader::default() };
        for (number, operation) in (1..).zip(operations) {
            let line = serde_json::to_vec(operation).context("an operation is plain data")?;
            reader.add(&line, number).with_context(|| format!("history.jsonl:{number}"))?;
        }
        Ok(reader.history)
    }
}

/// Reads the history in `lines`, which come from `path`.
///
/// # Errors
/// Names the line that is not what it should be.
pub fn parse(lines: impl BufRead, path: &Path, model: Model) -> Result<ValueHistory> {
    let mut reader = Reader { model, ..Reader::default() };
    lines::each(lines, path, |line, number| reader.add(line, number))?;
    Ok(reader.history)
}

#[derive(Default)]
struct Reader {
    model: Model,
    history: ValueHistory,
    key_numbers: FxHashMap<Arc<str>, usize>,
    /// Of each key, the first line that appends to it, and the first with a value that is no text.
    texts_only: Vec<[Option<u32>; 2]>,
    processes: Processes,
    text_bytes: usize,
}

impl Reader {
    fn add(&mut self, line: &[u8], number: u32) -> Result<()> {
        let line: Line<'_> = lines::parse(line)?;
        let known = self.model.operations();
        ensure!(
            known.contains(&line.op.as_ref()),
            "op \"{}\" is unknown here; there is: {}",
            line.op,
            known.join(", ")
        );
        let returned = lines::has_returned(line.return_us, line.result.is_some())?;
        self.processes.call(line.process, line.call_us, line.return_us, number)?;
        self.history.operations += 1;
        ensure!(
            self.history.operations <= MOST_OPERATIONS,
            "there are more than {MOST_OPERATIONS} operations: check a part of the file"
        );
        let key = self.key(&line.key);
        let action = self.action(&line, returned)?;
        self.check_texts(key, &line, number)?;
        ensure!(
            self.text_bytes <= MOST_TEXT,
            "keys and values take more than {MOST_TEXT} bytes: check a part of the file"
        );
        let Some(action) = action else { return Ok(()) };
        let (process, call_us) = (line.process, line.call_us);
        let return_us = line.return_us.unwrap_or(NEVER);
        self.history.keys[key].push(Operation { process, action, call_us, return_us });
        self.history.lines[key].push(number);
        Ok(())
    }

    /// An append joins texts; what it makes of anything else is not known.
    fn check_texts(&mut self, key: usize, line: &Line<'_>, number: u32) -> Result<()> {
        let is_text = |raw: &&RawValue| raw.get().starts_with('"') || raw.get() == "null";
        let told = line.result.as_ref().and_then(|told| told.value);
        let all_texts = [line.value, line.expected, told].iter().flatten().all(is_text);
        let [appends, others] = &mut self.texts_only[key];
        if line.op == "append" {
            appends.get_or_insert(number);
        }
        if !all_texts {
            others.get_or_insert(number);
        }
        match (*appends, *others) {
            (Some(append), Some(other)) => bail!(
                "line {append} appends to {}, so all its values are strings or null; the one of \
                 line {other} is not",
                line.key
            ),
            _ => Ok(()),
        }
    }

    fn key(&mut self, name: &str) -> usize {
        if let Some(number) = self.key_numbers.get(name) {
            return *number;
        }
        let (number, name) = (self.history.keys.len(), Arc::from(name));
        self.text_bytes += str::len(&name);
        self.key_numbers.insert(Arc::clone(&name), number);
        self.history.names.push(name);
        self.history.keys.push(Vec::new());
        self.history.lines.push(Vec::new());
        self.texts_only.push([None; 2]);
        number
    }

    /// What was done; `None` for a read that was never answered.
    fn action(&mut self, line: &Line<'_>, returned: bool) -> Result<Option<Action>> {
        let told = line.result.as_ref().filter(|_| returned);
        let action = match line.op.as_ref() {
            "get" => {
                let Some(told) = told else { return Ok(None) };
                ensure!(told.ok != Some(false), "{FAILED}");
                let seen = told.value.context("a get that returned needs result.value")?;
                Action::Get(self.number(seen)?)
            }
            "cas" => {
                let expected = line.expected.context("a cas needs expected")?;
                let expected = self.number(expected)?;
                let new = self.value(line)?;
                let told = told.map(|told| self.cas(told)).transpose()?;
                Action::Cas { expected, new, told }
            }
            op => {
                let ok = told.map(|told| told.ok);
                ensure!(ok != Some(None), "result of a {op} that returned is {{\"ok\": true}}");
                ensure!(ok != Some(Some(false)), "{FAILED}");
                match op {
                    "put" => Action::Put(self.value(line)?),
                    "append" => Action::Append(self.value(line)?),
                    _ => Action::Delete,
                }
            }
        };
        Ok(Some(action))
    }

    fn cas(&mut self, told: &Told<'_>) -> Result<Cas> {
        match told.ok.context("a cas that returned needs result.ok")? {
            true => Ok(Cas::Done),
            false => {
                let seen = told.value.map(|seen| self.number(seen)).transpose()?;
                Ok(Cas::Mismatch(seen))
            }
        }
    }

    fn value(&mut self, line: &Line<'_>) -> Result<Value> {
        let raw = line.value.with_context(|| format!("a {} needs value", line.op))?;
        let value = self.number(raw)?;
        ensure!(value != ABSENT, "null is no value to write: use delete");
        Ok(value)
    }

    fn number(&mut self, raw: &RawValue) -> Result<Value> {
        let raw_text = raw.get();
        if raw_text == "null" {
            return Ok(ABSENT);
        }
        let before = self.history.values.count();
        let number = match raw_text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => self.history.values.number(plain),
            Some(_) => {
                let text: Cow<'_, str> = serde_json::from_str(raw_text)?;
                self.history.values.number(&text)
            }
            None => self.history.values.number_of_json(&json::canonical(raw)?),
        };
        if self.history.values.count() > before {
            self.text_bytes += self.history.values.text(number).map_or(0, str::len);
        }
        Ok(number)
    }
}

const FAILED: &str = "only a cas may return ok = false: leave out what failed for certain";
