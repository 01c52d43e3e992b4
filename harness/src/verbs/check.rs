//! `lab check`: judges a history that anybody may have written, without running anything.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    checker::linearizable::{self, Budget, Cause, RanOut, Verdict},
    clean,
    history::{
        self,
        values::{Model, ValueHistory},
    },
    labs::lock,
    output,
    report::terminal::labelled,
};

/// Which history, and what it is held against.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The history: JSON lines, one operation a line, as in a run's folder (docs/histories.md)
    history: PathBuf,
    /// What it should be a history of
    #[arg(long, value_enum)]
    model: Kind,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    /// After how many seconds to give up
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    within: u64,
}

/// A sequential specification.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A value per key: get, put
    Register,
    /// The same with cas
    CasRegister,
    /// The same with append and delete
    Kv,
    /// Locks with leases and fencing tokens, and the value that they guard
    Lock,
}

/// What is said of a history.
struct Judgement {
    /// `linearizable`, `not linearizable` or `undecided`.
    verdict: &'static str,
    exit_code: u8,
    operations: usize,
    why: Option<String>,
    /// Further fields of the JSON.
    details: Value,
}

/// Checks, and prints the verdict: exit code 0 if it is linearizable, 1 if not, 3 if that could not
/// be decided.
///
/// # Errors
/// When the file holds no history: the file, the line, and what is wrong with it.
pub fn run(args: &Args) -> Result<u8> {
    let judgement = match args.model {
        Kind::Register => judge_values(args, Model::Register)?,
        Kind::CasRegister => judge_values(args, Model::CasRegister)?,
        Kind::Kv => judge_values(args, Model::Kv)?,
        Kind::Lock => judge_locks(args)?,
    };
    let Judgement { verdict, exit_code, operations, why, details } = judgement;
    let why = why.map(|why| clean::sentence(&why));
    if args.json {
        let mut report = json!({ "verdict": verdict, "operations": operations, "why": why });
        if let (Value::Object(report), Value::Object(details)) = (&mut report, details) {
            report.extend(details);
        }
        output::print(report);
    } else {
        output::print(format_args!("{verdict}: {operations} operations"));
        if let Some(why) = why {
            output::print(labelled("why", &why));
        }
    }
    Ok(exit_code)
}

fn judge_locks(args: &Args) -> Result<Judgement> {
    let operations = history::read(&args.history, lock::check_form)?;
    let finding = lock::check_history(&operations);
    Ok(Judgement {
        verdict: if finding.is_none() { "linearizable" } else { "not linearizable" },
        exit_code: u8::from(finding.is_some()),
        operations: operations.len(),
        why: finding.map(|finding| finding.sentence),
        details: Value::Null,
    })
}

fn judge_values(args: &Args, model: Model) -> Result<Judgement> {
    let mut history = history::values::read(&args.history, model)?;
    let budget = Budget { time: Duration::from_secs(args.within), ..Budget::default() };
    let verdict = linearizable::check(&history.keys, &history.values, budget);
    let (verdict, exit_code, why, details) = match verdict {
        Verdict::Linearizable => ("linearizable", 0, None, Value::Null),
        Verdict::NotLinearizable { key } => {
            let cause = linearizable::cause(&history.keys[key], &mut history.values);
            let why = history.explain(key, &cause, "Process ");
            ("not linearizable", 1, Some(why), details(&history, key, &cause))
        }
        Verdict::Undecided { key, ran_out } => {
            let what = match ran_out {
                RanOut::Steps => "the steps for one key are used up".to_owned(),
                RanOut::Memory => {
                    format!("{} MiB of memory are used up", budget.memory_bytes >> 20)
                }
                RanOut::Time => format!("{} s are over; try a larger --within", args.within),
            };
            let key = &history.names[key];
            let why = format!(
                "No order of the operations on {key} was found, and not every order was tried: \
                 {what}."
            );
            let ran_out = format!("{ran_out:?}").to_lowercase();
            ("undecided", 3, Some(why), json!({ "key": &**key, "ran_out": ran_out }))
        }
    };
    let operations = history.operations;
    Ok(Judgement { verdict, exit_code, operations, why, details })
}

fn details(history: &ValueHistory, key: usize, cause: &Cause) -> Value {
    let (from_us, until_us) = cause.window_us;
    let possible: Vec<_> = cause.could_be.iter().map(|value| history.show(*value)).collect();
    json!({
        "key": &*history.names[key],
        "line": history.lines[key][cause.operation],
        "process": history.keys[key][cause.operation].process,
        "from_us": from_us, "until_us": until_us, "possible": possible,
    })
}
