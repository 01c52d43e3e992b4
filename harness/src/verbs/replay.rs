//! `lab replay`: tries the schedule of a recorded run again.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    build::{self, BuildError},
    cluster::warden::Warden,
    grade::{
        self,
        run::{self, Inputs, Outcome, Plan, read_json},
    },
    lab::Lab,
    report::terminal::labelled,
    variant::Variant,
    workspace::Workspace,
};

/// Which run is to be tried again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder of the run, as a report names it
    run_dir: PathBuf,
    /// Run the very program that was recorded, not the code as it is now
    #[arg(long)]
    recorded: bool,
}

/// Replays, and says whether the recorded verdict came again: exit code 0 if it did, 1 if not.
///
/// # Errors
/// When the folder holds no run, or the harness fails.
pub fn run(args: &Args) -> Result<u8> {
    let workspace = Workspace::find()?;
    let what = || format!("{} is not the folder of a run", args.run_dir.display());
    let inputs: Inputs = read_json(&args.run_dir.join("run.json")).with_context(what)?;
    let recorded: Outcome = read_json(&args.run_dir.join("verdict.json")).with_context(what)?;
    let schedule = read_json(&args.run_dir.join("schedule.json")).with_context(what)?;
    let lab = Lab::load(&workspace, &inputs.lab)?;
    let milestone = lab.milestone(&inputs.milestone)?;
    let scenario = milestone.scenario.iter().find(|known| known.name == inputs.scenario);
    let scenario = scenario.with_context(|| {
        format!("milestone {} has no scenario {} any more", milestone.id, inputs.scenario)
    })?;
    let name = format!("{}-replay", lab.name);
    let dir = grade::new_runs_dir(&workspace.lab_dir().join("runs"), &name)?;
    println!(
        "The same schedule on new processes, so the same faults at the same messages; what lies \
         between them may take another order."
    );
    let warden = Warden::start()?;
    let program = program(&workspace, &lab, &inputs, args.recorded, &warden)?;
    let plan = Plan {
        run_dir: dir.join(&milestone.id).join(inputs.seed.to_string()),
        inputs: Inputs { program, ..inputs },
        scenario: scenario.clone(),
        schedule: Some(schedule),
    };
    let outcome = run::execute(&plan, &warden);
    let again = outcome.verdict == recorded.verdict;
    println!("  recorded: {}\n  now:      {}", recorded.verdict, outcome.verdict);
    if !outcome.story.is_empty() {
        println!("{}", labelled("happened", &outcome.story));
    }
    println!("  kept in:  {}", crate::workspace::shown(&outcome.run_dir));
    Ok(u8::from(!again))
}

/// The variant as it is now, or the very program of the recorded run.
fn program(
    workspace: &Workspace,
    lab: &Lab,
    inputs: &Inputs,
    recorded: bool,
    warden: &Warden,
) -> Result<PathBuf> {
    if recorded {
        let gone = || format!("the recorded program {} is gone", inputs.program.display());
        return inputs.program.is_file().then(|| inputs.program.clone()).with_context(gone);
    }
    let variant: Variant = inputs.variant.parse()?;
    match build::build(workspace, lab, &variant, warden) {
        Ok(program) => {
            if program.fingerprint != inputs.fingerprint {
                println!("The code of {variant} has changed since: this runs it as it is now.");
            }
            Ok(program.path)
        }
        Err(BuildError::Compile { sentence, .. }) => anyhow::bail!(sentence),
        Err(BuildError::Harness(error)) => Err(error),
    }
}
