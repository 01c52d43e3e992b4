//! What an operation in a history of the lock lab has to say.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::history::Operation;

/// The fields of one kind of operation, and its results.
struct Form {
    op: &'static str,
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
    results: &'static str,
    is_result: fn(&Value) -> bool,
}

const FORMS: [Form; 5] = [
    Form {
        op: "acquire",
        texts: &["owner"],
        numbers: &["request_no", "lease_ms"],
        results: r#"{"granted": TOKEN}, {"held": OWNER} or "stale""#,
        is_result: |it| it["granted"].is_u64() != it["held"].is_string() || it == "stale",
    },
    Form {
        op: "renew",
        texts: &["owner"],
        numbers: &["token", "lease_ms"],
        results: r#""ok" or "lost""#,
        is_result: |it| it == "ok" || it == "lost",
    },
    Form {
        op: "release",
        texts: &["owner"],
        numbers: &["token"],
        results: r#""ok""#,
        is_result: |it| it == "ok",
    },
    Form {
        op: "write",
        texts: &["owner", "value"],
        numbers: &["token", "seq"],
        results: r#""ok" or "fenced""#,
        is_result: |it| it == "ok" || it == "fenced",
    },
    Form {
        op: "read",
        texts: &["owner"],
        numbers: &[],
        results: r#"{"token": TOKEN, "seq": NUMBER, "value": STRING}"#,
        is_result: |it| it["token"].is_u64() && it["seq"].is_u64() && it["value"].is_string(),
    },
];

/// Longer leases fit in no request.
const LONGEST_LEASE_MS: u64 = u32::MAX as u64;

/// Whether an operation of a history says all that its kind has to say.
///
/// # Errors
/// What is missing, or is not what it should be.
pub fn check_form(operation: &Operation) -> Result<()> {
    let Operation { op, details, result, .. } = operation;
    let Some(form) = FORMS.iter().find(|form| form.op == op) else {
        let known = FORMS.map(|form| form.op).join(", ");
        anyhow::bail!("op \"{op}\" is unknown here; there is: {known}");
    };
    for field in form.texts {
        let is_text = details.get(*field).is_some_and(Value::is_string);
        ensure!(is_text, "the {op} needs {field}, a string");
    }
    for field in form.numbers {
        let is_number = details.get(*field).is_some_and(Value::is_u64);
        ensure!(is_number, "the {op} needs {field}, a number from 0 on");
    }
    let lease_ms = details.get("lease_ms").and_then(Value::as_u64);
    ensure!(
        lease_ms.is_none_or(|lease_ms| lease_ms <= LONGEST_LEASE_MS),
        "lease_ms is longer than {LONGEST_LEASE_MS}, which fits in no request"
    );
    ensure!(
        result.as_ref().is_none_or(form.is_result),
        "the {op} has a result that is none; there is: {}",
        form.results
    );
    Ok(())
}
