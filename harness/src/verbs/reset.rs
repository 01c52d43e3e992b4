//! `lab reset`: puts the pristine gap files back, after asking.

use std::{fs, io};

use anyhow::{Context, Result};

use crate::{
    lab::Lab, output, report::terminal::wrapped, submission, variant, workspace::Workspace,
};

/// Which lab is to be reset.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The lab, for instance lock
    lab: String,
}

/// Asks, and resets.
///
/// # Errors
/// When there is no such lab, or a file cannot be written.
pub fn run(args: &Args) -> Result<u8> {
    let workspace = Workspace::find()?;
    let lab = Lab::load(&workspace, &args.lab)?;
    let starter = variant::starter(&lab)?;
    let is_changed = |path: &std::path::Path, text: &String| {
        submission::read(&lab.dir.join(path)).ok().as_ref() != Some(text)
    };
    let changed: Vec<_> = starter.iter().filter(|(path, text)| is_changed(path, text)).collect();
    if changed.is_empty() {
        let same = "is as it was handed out; there is nothing to reset.";
        output::print(wrapped(&format!("labs/{} {same}", lab.name)));
        return Ok(0);
    }
    let what = format!("This throws away what you have written in labs/{}:", lab.name);
    output::print(wrapped(&what));
    for (path, _) in &changed {
        output::print(format_args!("  {}", path.display()));
    }
    output::print("Go on? Type yes:");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        output::print("Nothing was changed.");
        return Ok(0);
    }
    for (path, text) in changed {
        let path = lab.dir.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output::print(format_args!("labs/{} is as it was handed out.", lab.name));
    Ok(0)
}
