//! `lab check`: judges a history that anybody may have written, without running anything.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use crate::{
    checker::linearizable::{self, Budget, Cause, RanOut, Verdict},
    clean,
    history::{
        self,
        values::{Model, ValueHistory},
    },
    labs::{self, Histories},
    output,
    report::terminal::labelled,
};

/// Which history, and what it is held against.
#[derive(clap::Args)]
pub struct Args {
    /// The history: JSON lines, one operation a line, as in a run's folder (docs/histories.md)
    history: PathBuf,
    /// What it should be a history of
    #[arg(long, value_parser = models())]
    model: Kind,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    /// After how many seconds to give up; locks need no search and are judged to the end
    #[arg(
        long,
        default_value_t = 60,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=LONGEST_SECONDS)
    )]
    within: u64,
}

/// Nobody waits longer than a day for a verdict.
const LONGEST_SECONDS: u64 = 24 * 60 * 60;

/// What a history is held against.
#[derive(Clone, Copy)]
enum Kind {
    /// A sequential specification of values.
    Values(Model),
    /// What a lab promises of what its clients see.
    Lab(Histories),
}

/// The models of values, by name.
const VALUES: [(&str, Model, &str); 3] = [
    ("register", Model::Register, "A value per key: get, put"),
    ("cas-register", Model::CasRegister, "The same with cas"),
    ("kv", Model::Kv, "The same with append and delete"),
];

/// Reads the name of a model: one of values, or a lab.
fn models() -> impl TypedValueParser<Value = Kind> {
    let values = VALUES.map(|(name, _, help)| PossibleValue::new(name).help(help));
    let labs = labs::ALL.iter().filter(|room| room.histories.is_some()).map(|room| {
        PossibleValue::new(room.name).help(format!("What the clients of the {} lab saw", room.name))
    });
    PossibleValuesParser::new(values.into_iter().chain(labs)).map(|name| {
        let of_values = VALUES.iter().find(|(known, ..)| *known == name);
        let of_a_lab = || labs::ALL.iter().find(|room| room.name == name)?.histories;
        let known = of_values.map(|(_, model, _)| Kind::Values(*model));
        known.or_else(|| of_a_lab().map(Kind::Lab)).expect("the name is one of those above")
    })
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
        Kind::Values(model) => judge_values(args, model)?,
        Kind::Lab(histories) => judge_of_lab(args, histories)?,
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

fn judge_of_lab(args: &Args, histories: Histories) -> Result<Judgement> {
    let operations = history::read(&args.history, histories.check_form)?;
    let finding = (histories.check)(&operations);
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
