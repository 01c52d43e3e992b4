//! Building a variant: one function for every build, one target folder, one scratch tree.
//!
//! The working tree is built where it is, so that errors name files the learner can open. Every
//! other variant is built in a shadow of the workspace in which everything is a link but the lab's
//! own folder. Both share the target folder, where cargo cannot tell the two labs apart by
//! themselves: the fingerprint of the sources is compiled into the lab, so a build with another
//! fingerprint compiles it again, and a program that does not hold its fingerprint is refused.

mod compiler;
mod diagnosis;
mod kept;
mod tree;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    slice,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

pub use self::diagnosis::CompileError;
use self::{compiler::Compiler, diagnosis::Diagnosis};
use crate::{
    cluster::{limits::MIB, warden::Warden},
    lab::Lab,
    preflight::{self, Needs},
    sources::{Files, read_into},
    variant::{GapTexts, Variant},
    workspace::Workspace,
};

/// The variable by which `node::build_fingerprint!` is told.
const FINGERPRINT_VARIABLE: &str = "FAULTLINE_BUILD";
/// What a build may write into the target folder: the first of an optimised program, and any other,
/// whose libraries `cargo lab` has built when it was built itself.
const FIRST_OPTIMISED: u64 = 1024 * MIB;
const NEXT_BUILD: u64 = 256 * MIB;
/// What of the workspace goes into a lab's program, besides the lab itself.
const SHARED_SOURCES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "proto/Cargo.toml",
    "proto/src",
    "labs/node",
];

/// Which of a lab's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One node, as the lab's own package makes it.
    Node,
    /// The same, optimised, for benchmarks.
    FastNode,
    /// All nodes and the harness in one program, which runs simulations.
    Simulation,
    /// The same, not optimised: it must behave the same.
    SlowSimulation,
}

/// A variant's program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Which of the variants in it is meant: a simulation may hold several.
    pub number: usize,
    /// What it was built from.
    pub fingerprint: String,
    /// How long that took, in milliseconds.
    pub wall_ms: u64,
}

/// Why there is no program.
#[derive(Debug)]
pub enum BuildError {
    /// The code does not compile, by errors that have their place in the lab.
    Compile {
        /// One sentence with the number of errors and the first place.
        sentence: String,
        /// These errors, the first ones first.
        errors: Vec<CompileError>,
        /// How long it took to find out, in milliseconds.
        wall_ms: u64,
    },
    /// Anything that is not the code's fault.
    Harness(anyhow::Error),
}

impl Kind {
    /// The program's name.
    pub fn program(self, lab: &Lab) -> String {
        match self {
            Self::Node | Self::FastNode => lab.name.clone(),
            Self::Simulation | Self::SlowSimulation => format!("simulate-{}", lab.name),
        }
    }

    fn simulates(self) -> bool {
        matches!(self, Self::Simulation | Self::SlowSimulation)
    }

    fn profile(self) -> &'static str {
        match self {
            Self::Node | Self::SlowSimulation => "dev",
            Self::FastNode => "release",
            Self::Simulation => "sim",
        }
    }

    /// A simulation, optimised or not.
    pub fn simulation(unoptimised: bool) -> Self {
        if unoptimised { Self::SlowSimulation } else { Self::Simulation }
    }

    /// Whether all libraries are yet to be built for it, which takes minutes.
    pub fn is_first(self, workspace: &Workspace) -> bool {
        let folders = fs::read_dir(workspace.target()).into_iter().flatten().flatten();
        // Where a target is named, its folder holds the profile's.
        let mut places = folders.map(|folder| folder.path()).chain([workspace.target()]);
        let is_optimised = !matches!(self.profile(), "dev");
        is_optimised && !places.any(|place| place.join(self.profile()).is_dir())
    }

    /// What it takes to build one and to run it.
    pub fn needs(self, workspace: &Workspace) -> Needs {
        Needs {
            target: workspace.target(),
            build_bytes: if self.is_first(workspace) { FIRST_OPTIMISED } else { NEXT_BUILD },
            loopback: !self.simulates(),
        }
    }

    /// What of the workspace goes into it besides [`SHARED_SOURCES`] and the lab itself.
    fn sources(self) -> &'static [&'static str] {
        if self.simulates() { &["harness"] } else { &[] }
    }
}

impl From<anyhow::Error> for BuildError {
    fn from(error: anyhow::Error) -> Self {
        Self::Harness(error)
    }
}

/// Builds a program of the `variant` of `lab`, unless its program is there already.
///
/// # Errors
/// When the code does not compile, or anything else stands in the way.
pub fn build(
    workspace: &Workspace,
    lab: &Lab,
    variant: &Variant,
    kind: Kind,
    warden: &Warden,
) -> Result<Program, BuildError> {
    let mut programs = build_together(workspace, lab, slice::from_ref(variant), kind, warden)?;
    Ok(programs.remove(0))
}

/// Builds one program of several variants of `lab`, which only a simulation can be, and returns it
/// once for each: they are compiled side by side, and linked once.
///
/// # Errors
/// As [`build`].
pub fn build_together(
    workspace: &Workspace,
    lab: &Lab,
    variants: &[Variant],
    kind: Kind,
    warden: &Warden,
) -> Result<Vec<Program>, BuildError> {
    let started = Instant::now();
    let texts = variants.iter().map(|variant| variant.gap_texts(workspace, lab));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    fs::create_dir_all(workspace.lab_dir()).context("cannot make target/lab")?;
    // Two builds at once would overwrite each other's scratch tree.
    let lock = File::create(workspace.lab_dir().join("build.lock")).context("target/lab")?;
    lock.lock().context("cannot wait for another build to end")?;
    let compiler = Compiler::find(kind)?;
    let sources = sources(workspace, lab, &texts, kind)?;
    let fingerprint = fingerprint(&sources, kind, &compiler);
    let path = workspace.lab_dir().join("bin").join(&fingerprint).join(kind.program(lab));
    if path.is_file() {
        kept::used(&path)?;
    } else {
        let root = match (&texts[..], kind) {
            ([None], kind) if !kind.simulates() => workspace.path(""),
            _ => tree::lay(workspace, lab, &texts, kind)?,
        };
        let mut diagnosis = Diagnosis::new(lab, &sources);
        let built =
            compile(workspace, &mut diagnosis, kind, &root, &compiler, &fingerprint, warden)?;
        let Some(built) = built else {
            let error = diagnosis.blame(elapsed_ms(started));
            if let BuildError::Harness(_) = &error {
                // The disk may be full by now.
                preflight::check(&kind.needs(workspace))?;
            }
            return Err(error);
        };
        if self::sources(workspace, lab, &texts, kind)? != sources {
            return Err(anyhow!("the sources changed while they were built; try again").into());
        }
        kept::keep(&built, &path, &fingerprint)?;
        kept::forget_old(&workspace.lab_dir().join("bin"))?;
    }
    let wall_ms = elapsed_ms(started);
    let program = |number| {
        let (path, fingerprint) = (path.clone(), fingerprint.clone());
        Program { path, number, fingerprint, wall_ms }
    };
    Ok((0..variants.len()).map(program).collect())
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Everything that a lab's program is made from, besides the libraries.
fn sources(
    workspace: &Workspace,
    lab: &Lab,
    variants: &[Option<GapTexts>],
    kind: Kind,
) -> Result<Files> {
    let mut files = Files::new();
    let lab_dir = format!("labs/{}", lab.name);
    let lab_sources = [format!("{lab_dir}/Cargo.toml"), format!("{lab_dir}/src")];
    let lab_sources = lab_sources.iter().map(String::as_str);
    for source in
        SHARED_SOURCES.into_iter().chain(lab_sources).chain(kind.sources().iter().copied())
    {
        read_into(&workspace.path(source), Path::new(source), &mut files)?;
    }
    for (number, texts) in variants.iter().enumerate() {
        let dir = PathBuf::from("labs").join(tree::crate_name(lab, number));
        for (path, text) in texts.iter().flatten() {
            files.insert(dir.join(path), text.clone().into_bytes());
        }
    }
    Ok(files)
}

/// The hash of that, and of what it is made with.
fn fingerprint(sources: &Files, kind: Kind, compiler: &Compiler) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(compiler.identity().as_bytes()).update(kind.profile().as_bytes());
    for (path, bytes) in sources {
        hasher.update(path.to_string_lossy().as_bytes()).update(&[0]);
        hasher.update(&bytes.len().to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Compiles the lab in the workspace at `root`: its program, if there is one. What the compiler
/// says is shown as it comes.
fn compile(
    workspace: &Workspace,
    diagnosis: &mut Diagnosis<'_>,
    kind: Kind,
    root: &Path,
    compiler: &Compiler,
    fingerprint: &str,
    warden: &Warden,
) -> Result<Option<PathBuf>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` tells its child about the crate it runs, which is none of this build's business.
    let about_a_crate = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(about_a_crate) {
            command.env_remove(name);
        }
    }
    let program_name = kind.program(diagnosis.lab);
    // The whole workspace is selected, so that features unify as in every other build, and one
    // program of it is built.
    command
        .current_dir(root)
        .args(["build", "--workspace", "--profile", kind.profile()])
        .args(["--bin", &program_name])
        .args(compiler::PROFILES.iter().flat_map(|setting| ["--config", setting]))
        .arg("--message-format=json-diagnostic-rendered-ansi")
        .arg("--target-dir")
        .arg(workspace.target())
        .env("CARGO_ENCODED_RUSTFLAGS", compiler.flags(&workspace.lab_dir().join("linked")))
        .env_remove("RUSTFLAGS")
        .env(FINGERPRINT_VARIABLE, fingerprint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    if let Some(linker) = &compiler.linker {
        command.args(["--target", &linker.target]);
    }
    let mut child = command.spawn().context("cannot run cargo")?;
    warden.watch_group(child.id());
    let stdout = child.stdout.take().context("cargo's output was asked for")?;
    let mut program = None;
    for line in BufReader::new(stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        diagnosis.hear(&message);
        if message["target"]["name"] == *program_name
            && let Some(path) = message["executable"].as_str()
        {
            program = Some(PathBuf::from(path));
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    warden.forget_group(child.id());
    Ok(program.filter(|_| status.success()))
}
