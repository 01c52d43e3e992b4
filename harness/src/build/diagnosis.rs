//! What the compiler says, and whose fault it is that there is no program.
//!
//! Only an error that has its place in the lab is the lab's. A full disk, a compiler that was
//! killed, a linker that is not there: those are the machine's trouble, and cost nobody points.

use std::path::Path;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BuildError;
use crate::{clean, lab::Lab, output, sources::Files};

/// How many characters of one message of the compiler are shown.
const MOST_RENDERED: usize = 20_000;
/// What is said of crates that are there and do not fit. Not E0462 and E0463: `extern crate` gives
/// rise to them, too.
const DAMAGED: [&str; 5] = ["E0460", "E0461", "E0464", "E0514", "E0786"];
/// What linkers write before the name of a symbol or library that is amiss.
const AMISS: [&str; 6] = [
    "undefined symbol: ",
    "undefined reference to `",
    "duplicate symbol: ",
    "multiple definition of `",
    "unable to find library -l",
    "cannot find -l",
];

/// An error of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileError {
    /// The file, relative to the workspace.
    pub file: String,
    /// The line.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// What was said while a lab was compiled.
pub struct Diagnosis<'a> {
    /// The lab.
    pub lab: &'a Lab,
    sources: &'a Files,
    errors: Vec<CompileError>,
    /// Whether the lab does not link.
    unlinked: bool,
    /// The first error in other code.
    elsewhere: Option<CompileError>,
}

impl<'a> Diagnosis<'a> {
    /// Nothing has been said yet of `lab`, whose program is made from these `sources`.
    pub fn new(lab: &'a Lab, sources: &'a Files) -> Self {
        Self { lab, sources, errors: Vec::new(), unlinked: false, elsewhere: None }
    }

    /// Takes in a line that cargo wrote: all errors are shown, and the warnings on the lab.
    pub fn hear(&mut self, line: &Value) {
        let manifest = line["manifest_path"].as_str().unwrap_or_default();
        let is_labs = Path::new(manifest).ends_with(format!("labs/{}/Cargo.toml", self.lab.name));
        let message = &line["message"];
        let place = place(message);
        match message["level"].as_str() {
            Some("warning") if is_labs && place.is_some() => show(message),
            Some("error") => {
                show(message);
                let is_damage = DAMAGED.iter().any(|code| message["code"]["code"] == *code);
                match place {
                    Some(error) if is_labs && !is_damage => self.errors.push(error),
                    Some(error) => drop(self.elsewhere.get_or_insert(error)),
                    None => self.unlinked |= self.names_own_symbol(rendered(message)),
                }
            }
            _ => {}
        }
    }

    /// Why there is no program.
    pub fn blame(self, wall_ms: u64) -> BuildError {
        let name = &self.lab.name;
        let sentence = match &*self.errors {
            [] if self.unlinked => {
                format!("labs/{name} does not link, for the reason that stands above")
            }
            [] => {
                let why = match self.elsewhere {
                    Some(CompileError { file, line, .. }) => {
                        format!("{file}:{line} is not its own")
                    }
                    None => "no error has a place in it".to_owned(),
                };
                return BuildError::Harness(anyhow!(
                    "the harness failed, not the lab: labs/{name} could not be built, and {why}; \
                     mend what stands above and try again"
                ));
            }
            [CompileError { file, line, .. }] => {
                format!("labs/{name} does not compile: 1 error at {file}:{line}")
            }
            [CompileError { file, line, .. }, ..] => {
                let count = self.errors.len();
                format!("labs/{name} does not compile: {count} errors, first at {file}:{line}")
            }
        };
        BuildError::Compile { sentence, errors: self.errors, wall_ms }
    }

    /// Whether a linker misses, or has twice, what the lab itself says is outside of Rust.
    fn names_own_symbol(&self, text: &str) -> bool {
        let own = Path::new("labs").join(&self.lab.name);
        let sources = self.sources.iter().filter(|(path, _)| path.starts_with(&own));
        let texts: Vec<_> = sources.map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
        let is_named = |name: &str| {
            let mut texts = texts.iter();
            !name.is_empty() && texts.any(|it| it.contains("extern \"C\"") && it.contains(name))
        };
        let names = AMISS.iter().flat_map(|mark| text.split(mark).skip(1));
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        names.filter_map(|rest| rest.split(|letter| !is_part(letter)).next()).any(is_named)
    }
}

/// Where an error or a warning is; `None` for one without a place, like the closing "aborting due
/// to 2 previous errors".
fn place(message: &Value) -> Option<CompileError> {
    let mut spans = message["spans"].as_array().into_iter().flatten();
    let span = spans.find(|span| span["is_primary"] == true)?;
    Some(CompileError {
        file: clean::sentence(span["file_name"].as_str().unwrap_or_default()),
        line: span["line_start"].as_u64().unwrap_or_default(),
        message: clean::sentence(message["message"].as_str().unwrap_or_default()),
    })
}

fn rendered(message: &Value) -> &str {
    message["rendered"].as_str().unwrap_or_default()
}

fn show(message: &Value) {
    let rendered = clean::shortened(rendered(message).trim_end(), MOST_RENDERED);
    match console::colors_enabled_stderr() {
        true => output::say(rendered + "\n"),
        false => output::say(console::strip_ansi_codes(&rendered) + "\n"),
    }
}
