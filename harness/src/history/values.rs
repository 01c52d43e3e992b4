//! Histories of values (get, put, append, cas, delete) from JSON lines: read once, line by line, in
//! bounded memory, each mistake with its line.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    checker::linearizable::{ABSENT, Action, Cas, NEVER, Operation, Value, Values},
    history,
};

/// A longer line is no operation.
const LONGEST_LINE: u64 = 1 << 20;
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
    pub names: Vec<String>,
    /// The operations on each key, in the order of the file.
    pub keys: Vec<Vec<Operation>>,
    /// The line of each operation, and its process.
    pub places: Vec<Vec<Place>>,
    /// The values by number.
    pub values: Values,
}

/// Where an operation stands, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The client.
    pub process: u32,
}

#[derive(Deserialize)]
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
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(BufReader::with_capacity(1 << 16, file), path, model)
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
pub fn parse(mut lines: impl BufRead, path: &Path, model: Model) -> Result<ValueHistory> {
    let mut reader = Reader { model, ..Reader::default() };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let place = || format!("{}:{number}", path.display());
        let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.with_context(place)? == 0 {
            break;
        }
        ensure!(
            line.ends_with(b"\n") || (line.len() as u64) < LONGEST_LINE,
            "{}: the line is longer than {LONGEST_LINE} bytes, so it is no operation",
            place()
        );
        if !line.trim_ascii().is_empty() {
            reader.add(&line, number).with_context(place)?;
        }
    }
    Ok(reader.history)
}

#[derive(Default)]
struct Reader {
    model: Model,
    history: ValueHistory,
    key_numbers: FxHashMap<Box<str>, usize>,
    /// What each process did last: call, return, line.
    last: FxHashMap<u32, (u64, u64, u32)>,
    operations: usize,
    text_bytes: usize,
}

impl Reader {
    fn add(&mut self, line: &[u8], number: u32) -> Result<()> {
        let line: Line<'_> = serde_json::from_slice(line)?;
        let known = self.model.operations();
        ensure!(
            known.contains(&line.op.as_ref()),
            "op \"{}\" is unknown here; there is: {}",
            line.op,
            known.join(", ")
        );
        let returned = line.return_us.is_some() && line.result.is_some();
        let return_us = line.return_us.filter(|_| returned).unwrap_or(NEVER);
        self.check_process(&line, return_us, number)?;
        let Some(action) = self.action(&line, returned)? else { return Ok(()) };
        self.operations += 1;
        ensure!(
            self.operations <= MOST_OPERATIONS,
            "there are more than {MOST_OPERATIONS} operations: check a part of the file"
        );
        ensure!(
            self.text_bytes <= MOST_TEXT,
            "keys and values take more than {MOST_TEXT} bytes: check a part of the file"
        );
        let key = self.key(&line.key);
        self.history.keys[key].push(Operation { action, call_us: line.call_us, return_us });
        self.history.places[key].push(Place { line: number, process: line.process });
        Ok(())
    }

    fn check_process(&mut self, line: &Line<'_>, return_us: u64, number: u32) -> Result<()> {
        let Line { process, call_us, .. } = *line;
        ensure!(return_us >= call_us, "return_us comes before call_us");
        if let Some((last_call_us, last_return_us, last_line)) =
            self.last.insert(process, (call_us, return_us, number))
        {
            ensure!(
                call_us >= last_call_us,
                "process {process} calls before its operation of line {last_line}: write the \
                 operations of one process in the order of their calls"
            );
            // An operation that never returned lasts until its client goes on to the next one.
            ensure!(
                last_return_us == NEVER || last_return_us <= call_us,
                "process {process} calls while its operation of line {last_line} is under way"
            );
        }
        Ok(())
    }

    fn key(&mut self, name: &str) -> usize {
        if let Some(number) = self.key_numbers.get(name) {
            return *number;
        }
        let number = self.history.keys.len();
        self.text_bytes += name.len();
        self.key_numbers.insert(name.into(), number);
        self.history.names.push(name.to_owned());
        self.history.keys.push(Vec::new());
        self.history.places.push(Vec::new());
        number
    }

    /// What was done; `None` for a read that was never answered.
    fn action(&mut self, line: &Line<'_>, returned: bool) -> Result<Option<Action>> {
        let told = line.result.as_ref().filter(|_| returned);
        let action = match line.op.as_ref() {
            "get" => {
                let Some(told) = told else { return Ok(None) };
                let seen = told.value.context("a get that returned needs result.value")?;
                Action::Get(self.number(seen)?)
            }
            "put" => Action::Put(self.value(line)?),
            "append" => Action::Append(self.value(line)?),
            "cas" => {
                let expected = line.expected.context("a cas needs expected")?;
                let expected = self.number(expected)?;
                let new = self.value(line)?;
                let told = told.map(|told| self.cas(told)).transpose()?;
                Action::Cas { expected, new, told }
            }
            "delete" => Action::Delete,
            other => bail!("op \"{other}\" is unknown"),
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
        let raw = raw.get();
        if raw == "null" {
            return Ok(ABSENT);
        }
        let text = match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            Some(_) => Cow::Owned(serde_json::from_str(raw)?),
            None => Cow::Borrowed(raw),
        };
        let before = self.history.values.count();
        let number = self.history.values.number(&text);
        if self.history.values.count() > before {
            self.text_bytes += text.len();
        }
        Ok(number)
    }
}
