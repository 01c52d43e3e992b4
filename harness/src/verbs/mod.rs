//! The verbs of the `lab` program, one file each.

pub mod audit;
pub mod check;
pub mod explore;
pub mod grade;
pub mod overview;
pub mod replay;
pub mod reset;
pub mod run;
pub mod shrink;

use anyhow::{Result, ensure};

use crate::{
    build::{self, BuildError, Kind, Program},
    cluster::warden::Warden,
    lab::Lab,
    output, preflight, submission,
    variant::Variant,
    workspace::Workspace,
};

/// The code that a verb is about, as its arguments name it.
#[derive(clap::Args, Debug)]
pub struct Code {
    /// The lab, for instance lock
    lab: String,
    /// Whose code: mine, starter, reference, gap:N, closed:N,M, wrong:NAME, or the folder of a
    /// submission
    #[arg(long, default_value = "mine")]
    variant: String,
}

impl Code {
    fn find(&self) -> Result<(Workspace, Lab, Variant)> {
        let workspace = Workspace::find()?;
        let lab = Lab::load(&workspace, &self.lab)?;
        Ok((workspace, lab, self.variant.parse()?))
    }
}

/// Begins what needs a program of this `kind`: sees that the machine can build and run it, and
/// starts the warden.
fn begin(workspace: &Workspace, kind: Kind) -> Result<Warden> {
    preflight::check(&kind.needs(workspace))?;
    Warden::start()
}

/// The program of a node; `None` when the code does not compile, which has been said then.
fn program_of(
    workspace: &Workspace,
    lab: &Lab,
    variant: &Variant,
    warden: &Warden,
) -> Result<Option<Program>> {
    variant.gap_texts(workspace, lab)?;
    build(workspace, lab, variant, Kind::Node, warden)
}

/// The program that simulates the lab; `None` when the code does not compile, which has been said
/// then.
fn simulation_of(
    workspace: &Workspace,
    lab: &Lab,
    variant: &Variant,
    unoptimised: bool,
    warden: &Warden,
) -> Result<Option<Program>> {
    ensure!(
        cfg!(target_os = "linux"),
        "the simulation runs on Linux only; cargo lab grade runs here, too"
    );
    variant.gap_texts(workspace, lab)?;
    let kind = Kind::simulation(unoptimised);
    if kind.is_first(workspace) {
        output::say("building the simulation for the first time: this takes some minutes");
    }
    build(workspace, lab, variant, kind, warden)
}

fn build(
    workspace: &Workspace,
    lab: &Lab,
    variant: &Variant,
    kind: Kind,
    warden: &Warden,
) -> Result<Option<Program>> {
    let not_used = variant.not_used(workspace, lab)?;
    submission::tell(lab, &not_used).into_iter().for_each(output::say);
    output::say(format_args!("building {} ({variant})", lab.name));
    match build::build(workspace, lab, variant, kind, warden) {
        Ok(program) => Ok(Some(program)),
        Err(BuildError::Compile { sentence, .. }) => {
            output::say(sentence);
            Ok(None)
        }
        Err(BuildError::Harness(error)) => Err(error),
    }
}
