//! JSON values in one form, so that equal values are equal texts: no white space, the fields of an
//! object by name, numbers by what they are worth.

use std::{borrow::Cow, collections::BTreeMap};

use anyhow::{Context, Result, ensure};
use serde_json::value::RawValue;

/// Deeper values are refused, as serde_json does.
const DEEPEST: usize = 128;
/// Numbers with more zeros than this before or after their digits are written with an exponent.
const MOST_ZEROS: i64 = 20;
const FEWEST_ZEROS: i64 = -MOST_ZEROS;

/// A value in its one form.
///
/// # Errors
/// When it is nested too deeply, has half of a character, or a number nobody can mean.
pub fn canonical(raw: &RawValue) -> Result<String> {
    let mut out = String::with_capacity(raw.get().len());
    write(raw, 0, &mut out)?;
    Ok(out)
}

fn write(raw: &RawValue, depth: usize, out: &mut String) -> Result<()> {
    ensure!(depth < DEEPEST, "a value is nested more than {DEEPEST} deep");
    let raw = raw.get();
    match raw.as_bytes()[0] {
        b'{' => {
            // Of two fields of one name, the last one counts.
            let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(raw)?;
            let mut before = '{';
            for (name, value) in fields {
                out.push(before);
                out.push_str(&serde_json::to_string(&name)?);
                out.push(':');
                write(value, depth + 1, out)?;
                before = ',';
            }
            out.push_str(if before == '{' { "{}" } else { "}" });
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw)?;
            let mut before = '[';
            for value in &items {
                out.push(before);
                write(value, depth + 1, out)?;
                before = ',';
            }
            out.push_str(if before == '[' { "[]" } else { "]" });
        }
        b'"' => {
            let text: Cow<'_, str> = serde_json::from_str(raw)?;
            out.push_str(&serde_json::to_string(&text)?);
        }
        b't' | b'f' | b'n' => out.push_str(raw),
        _ => write_number(raw, out)?,
    }
    Ok(())
}

/// Exactly, whatever its length: its digits without zeros around them, and a power of ten.
fn write_number(raw: &str, out: &mut String) -> Result<()> {
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let exponent: i64 = exponent
        .parse()
        .ok()
        .filter(|it: &i64| it.abs() < 1 << 60)
        .with_context(|| format!("{raw} has too large an exponent"))?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - kept.len())? - i64::try_from(fraction.len())?;
    let (kept, zeros) = (kept.trim_start_matches('0'), zeros + exponent);
    let length = i64::try_from(kept.len())?;
    match zeros {
        _ if kept.is_empty() => out.push('0'),
        0..=MOST_ZEROS => {
            *out += sign;
            *out += kept;
            out.extend((0..zeros).map(|_| '0'));
        }
        FEWEST_ZEROS..0 => {
            *out += sign;
            let padded =
                format!("{}{kept}", "0".repeat(usize::try_from((1 - zeros - length).max(0))?));
            let (whole, fraction) = padded.split_at(padded.len() - usize::try_from(-zeros)?);
            *out += &format!("{whole}.{fraction}");
        }
        _ => *out += &format!("{sign}{kept}e{zeros}"),
    }
    Ok(())
}
