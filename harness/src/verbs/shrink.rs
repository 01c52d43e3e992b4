//! `lab shrink`: makes a failing simulated run small.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{begin, simulation_of};
use crate::{
    build::Kind,
    explore::{
        keep::{self, keep, plan_of},
        runner::Runner,
        shrink::shrink,
    },
    files::read_json,
    grade::run::Inputs,
    lab::Lab,
    output,
    report::terminal::{labelled, wrapped},
    variant::Variant,
    verdict::Verdict,
    workspace::{Workspace, shown},
};

/// Which run is to be made small.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder of a run that explore has found
    run_dir: PathBuf,
    /// Simulate by a program that is not optimised: it must behave the same
    #[arg(long, hide = true)]
    unoptimised: bool,
}

/// Shrinks, and tells the story of what is left.
///
/// # Errors
/// When the folder holds no simulated run, the run does not fail (any more), or the harness fails.
pub fn run(args: &Args) -> Result<u8> {
    let workspace = Workspace::find()?;
    let what = || format!("{} is not the folder of a run", args.run_dir.display());
    let inputs: Inputs = read_json(&args.run_dir.join("run.json")).with_context(what)?;
    ensure!(
        inputs.engine == keep::ENGINE,
        "{} ran on processes, and only simulated runs can be repeated exactly enough to be \
         shrunk; find one with cargo lab explore {}",
        args.run_dir.display(),
        inputs.lab
    );
    let plan = plan_of(&args.run_dir).with_context(what)?;
    let lab = Lab::load(&workspace, &inputs.lab)?;
    let variant: Variant = inputs.variant.parse()?;
    let warden = begin(&workspace, Kind::simulation(args.unoptimised))?;
    let Some(program) = simulation_of(&workspace, &lab, &variant, args.unoptimised, &warden)?
    else {
        return Ok(Verdict::Broken.exit_code());
    };
    let mut runner = Runner::new(&program, &warden);
    let before = runner.run(&plan, None)?;
    let small = shrink(&plan, &mut runner)?;
    let mut name = args.run_dir.file_name().unwrap_or_default().to_os_string();
    name.push("-small");
    let dir = args.run_dir.with_file_name(name);
    let (fingerprint, path) = (program.fingerprint, program.path);
    let inputs = Inputs { fingerprint, program: path, ..inputs };
    keep(&dir, &inputs, &small.plan, &small.report, &mut runner)?;
    output::print(wrapped(&format!(
        "{} faults, {} operations → {}, {} ({} runs)",
        plan.schedule.len(),
        before.operations,
        count(small.plan.schedule.len(), "fault"),
        count(small.report.operations, "operation"),
        small.runs
    )));
    output::print(labelled("happened", &small.report.story));
    output::print(format_args!("  again:    cargo lab replay {}", shown(&dir)));
    output::print(format_args!("  for real: cargo lab replay --processes {}", shown(&dir)));
    Ok(0)
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
