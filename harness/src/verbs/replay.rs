//! `lab replay`: runs a recorded run again, exactly where it was simulated.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{begin, program_of, simulation_of};
use crate::{
    build::{Kind, Program},
    cluster::warden::Warden,
    explore::{
        keep::{self, keep, plan_of},
        runner::Runner,
    },
    fabric::fault::Entry,
    files::read_json,
    grade::{
        self,
        run::{self, Inputs, Outcome, Plan},
    },
    lab::{Lab, Scenario},
    output,
    report::terminal::{labelled, wrapped},
    variant::Variant,
    verdict::Verdict,
    workspace::{Workspace, shown},
};

/// Which run is to be tried again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder of the run, as a report names it
    run_dir: PathBuf,
    /// Run the very program that was recorded, not the code as it is now
    #[arg(long)]
    recorded: bool,
    /// Try the schedule of a simulated run on real processes
    #[arg(long)]
    processes: bool,
    /// Simulate by a program that is not optimised: it must behave the same
    #[arg(long, hide = true)]
    unoptimised: bool,
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
    let lab = Lab::load(&workspace, &inputs.lab)?;
    let simulates = inputs.engine == keep::ENGINE && !args.processes;
    let kind = if simulates { Kind::Simulation } else { Kind::Node };
    let warden = begin(&workspace, kind)?;
    let replay = Replay { args, workspace, lab, inputs, recorded, warden };
    if replay.inputs.engine != keep::ENGINE {
        let schedule = read_json(&args.run_dir.join("schedule.json")).with_context(what)?;
        return replay.on_processes(replay.scenario()?, schedule);
    }
    let plan = plan_of(&args.run_dir).with_context(what)?;
    match args.processes {
        true => replay.on_processes(plan.scenario, plan.schedule),
        false => replay.in_simulation(&plan),
    }
}

struct Replay<'a> {
    args: &'a Args,
    workspace: Workspace,
    lab: Lab,
    inputs: Inputs,
    recorded: Outcome,
    warden: Warden,
}

impl Replay<'_> {
    fn scenario(&self) -> Result<Scenario> {
        let Inputs { milestone, scenario, .. } = &self.inputs;
        let mut known = self.lab.milestone(milestone)?.scenario.iter();
        let known = known.find(|known| known.name == *scenario);
        known
            .cloned()
            .with_context(|| format!("milestone {milestone} has no scenario {scenario} any more"))
    }

    fn on_processes(&self, scenario: Scenario, schedule: Vec<Entry>) -> Result<u8> {
        output::print(wrapped(
            "The same schedule on new processes, so the same faults at the same messages; what \
             lies between them may take another order.",
        ));
        let variant: Variant = self.inputs.variant.parse()?;
        let build = || program_of(&self.workspace, &self.lab, &variant, &self.warden);
        // What was simulated was another program.
        let recorded = self.args.recorded && self.inputs.engine != keep::ENGINE;
        let Some(program) = self.program(recorded, build)? else {
            return Ok(Verdict::Broken.exit_code());
        };
        let engine = grade::ENGINE.to_owned();
        let inputs = Inputs { program: program.path, engine, ..self.inputs.clone() };
        let plan = Plan { run_dir: self.new_dir()?, inputs, scenario, schedule: Some(schedule) };
        let outcome = run::execute_alone(&plan, &self.warden);
        self.compare(&outcome);
        Ok(u8::from(outcome.verdict != self.recorded.verdict))
    }

    fn in_simulation(&self, plan: &crate::simulation::Plan) -> Result<u8> {
        let variant: Variant = self.inputs.variant.parse()?;
        let slow = self.args.unoptimised;
        let build = || simulation_of(&self.workspace, &self.lab, &variant, slow, &self.warden);
        let Some(program) = self.program(self.args.recorded, build)? else {
            return Ok(Verdict::Broken.exit_code());
        };
        let mut runner = Runner::new(&program, &self.warden);
        let report = runner.run(plan, None)?;
        let inputs = Inputs {
            program: program.path,
            fingerprint: program.fingerprint,
            ..self.inputs.clone()
        };
        let outcome = keep(&self.new_dir()?, &inputs, plan, &report, &mut runner)?;
        self.compare(&outcome);
        let same = outcome.hash == self.recorded.hash;
        output::print(match same {
            true => "  the same run, bit for bit",
            false => "  not the same run: the code is not what it was",
        });
        Ok(u8::from(outcome.verdict != self.recorded.verdict))
    }

    /// The variant as it is now, or the very program of the recorded run; `None` when the code does
    /// not compile.
    fn program(
        &self,
        recorded: bool,
        build: impl FnOnce() -> Result<Option<Program>>,
    ) -> Result<Option<Program>> {
        let Inputs { program: path, fingerprint, variant, .. } = &self.inputs;
        if recorded {
            ensure!(path.is_file(), "the recorded program {} is gone", path.display());
            let (path, fingerprint) = (path.clone(), fingerprint.clone());
            return Ok(Some(Program { path, fingerprint, number: 0, wall_ms: 0 }));
        }
        let built = build()?;
        let is_comparable = !self.args.processes && !self.args.unoptimised;
        if built.as_ref().is_some_and(|it| is_comparable && it.fingerprint != *fingerprint) {
            let now = "has changed since: this runs it as it is now.";
            output::print(wrapped(&format!("The code of {variant} {now}")));
        }
        Ok(built)
    }

    fn new_dir(&self) -> Result<PathBuf> {
        let name = format!("{}-replay", self.lab.name);
        let dir = grade::new_runs_dir(&self.workspace.runs_dir(), &name)?;
        Ok(dir.join(&self.inputs.milestone).join(self.inputs.seed.to_string()))
    }

    fn compare(&self, outcome: &Outcome) {
        output::print(labelled("recorded", self.recorded.verdict.word()));
        output::print(labelled("now", outcome.verdict.word()));
        if !outcome.story.is_empty() {
            output::print(labelled("happened", &outcome.story));
        }
        output::print(format_args!("  kept in:  {}", shown(&outcome.run_dir)));
    }
}
