//! A lab as its `lab.toml` describes it: milestones, scenarios, points.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    fabric::schedule::{self, FaultSpec},
    labs,
    workload::Workload,
    workspace::Workspace,
};

/// A service to mend.
pub struct Lab {
    /// Its name, that of its folder under `labs/` and of its program.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
    /// How many of its clusters run side by side unless the caller says otherwise: as many as two
    /// processors carry before faults come too late for what they are aimed at.
    pub side_by_side: usize,
    /// The files with the gaps, relative to the lab's folder.
    pub gap_files: Vec<PathBuf>,
    /// What is promised, in the order in which it is graded.
    pub milestones: Vec<Milestone>,
    /// The lab's folder.
    pub dir: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabFile {
    name: String,
    title: String,
    side_by_side: usize,
    gap_files: Vec<PathBuf>,
    milestone: Vec<Milestone>,
}

/// One promise, graded, worth points.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    /// A short name: `memory`.
    pub id: String,
    /// The gap that breaks it while it is open.
    pub gap: u32,
    /// The other gaps that have to be closed: with these and its own it passes.
    #[serde(default)]
    pub also: Vec<u32>,
    /// What it is worth.
    pub points: u32,
    /// How many seeds a grade tries.
    pub runs: u32,
    /// Whether its verdict hangs on time: beside it runs at most one other cluster.
    #[serde(default)]
    pub timed: bool,
    /// What it is about, in a few words.
    pub title: String,
    /// The promise, in one sentence.
    pub promise: String,
    /// What must hold in those of its scenarios that do not name it themselves.
    #[serde(default)]
    pub checks: Vec<String>,
    /// What is tried; seed S tries scenario S modulo their number.
    pub scenario: Vec<Scenario>,
}

/// A cluster, what its clients do, what is broken, and what must hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name: `kill-all`.
    pub name: String,
    /// What the clients do.
    pub workload: String,
    /// How many nodes.
    pub nodes: usize,
    /// How long after the one before each node is started, in milliseconds.
    #[serde(default)]
    pub apart_ms: u64,
    /// How many clients.
    pub clients: u32,
    /// How long it lasts, in milliseconds; faults strike between the two calms.
    pub duration_ms: u64,
    /// The calm before the faults and the calm after them, in milliseconds.
    #[serde(default = "default_calm_ms")]
    pub calm_ms: [u64; 2],
    /// How long bytes wait before they are durable, in milliseconds: each start of a node draws its
    /// own between the least and the most.
    #[serde(default)]
    pub disk_delay_ms: [u64; 2],
    /// What is broken.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// What must hold, by the workload's names; all that it knows, unless some are named here or by
    /// the milestone.
    #[serde(default)]
    pub checks: Vec<String>,
    /// What must happen soon, by the workload's names, in milliseconds.
    #[serde(default)]
    pub bounds: BTreeMap<String, u64>,
    /// Details of the workload.
    #[serde(default)]
    pub options: toml::Table,
}

fn default_calm_ms() -> [u64; 2] {
    [500, 500]
}

/// How many nodes a cluster may have: a port block has room for no more.
pub const MAX_NODES: usize = 9;
const MAX_CLIENTS: u32 = 64;

impl Milestone {
    /// The gaps that have to be closed before it can pass.
    pub fn needs(&self) -> BTreeSet<u32> {
        self.also.iter().copied().chain([self.gap]).collect()
    }
}

impl Lab {
    /// Every lab of the workspace, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(workspace: &Workspace) -> Result<Vec<String>> {
        let dir = workspace.path("labs");
        let entries =
            fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let labs = entries.flatten().filter(|entry| entry.path().join("lab.toml").is_file());
        let mut names: Vec<_> =
            labs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        // In the order in which they are taught.
        names.sort_by_cached_key(|name| labs::place(name));
        Ok(names)
    }

    /// Reads the lab `name`.
    ///
    /// # Errors
    /// When there is no such lab, or its `lab.toml` cannot be graded by: the file, the line where
    /// one is to blame, and what is wrong.
    pub fn load(workspace: &Workspace, name: &str) -> Result<Self> {
        let names = Self::names(workspace)?;
        ensure!(
            names.iter().any(|known| known == name),
            "there is no lab \"{name}\"; there is: {}",
            names.join(", ")
        );
        let dir = workspace.path("labs").join(name);
        let shown = format!("labs/{name}/lab.toml");
        let text = fs::read_to_string(dir.join("lab.toml"))
            .with_context(|| format!("cannot read {shown}"))?;
        let file: LabFile = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            anyhow!("{shown}:{line}: {}", error.message().replace('\n', " "))
        })?;
        let mut lab = Self {
            name: file.name,
            title: file.title,
            side_by_side: file.side_by_side,
            gap_files: file.gap_files,
            milestones: file.milestone,
            dir,
        };
        for milestone in &mut lab.milestones {
            let unnamed = milestone.scenario.iter_mut().filter(|it| it.checks.is_empty());
            unnamed.for_each(|scenario| scenario.checks.clone_from(&milestone.checks));
        }
        let mut scenarios = lab.milestones.iter_mut().flat_map(|it| &mut it.scenario);
        scenarios.try_for_each(Scenario::check_by_all).with_context(|| shown.clone())?;
        lab.check(name).with_context(|| shown.clone())?;
        Ok(lab)
    }

    /// The milestone `id`.
    ///
    /// # Errors
    /// When there is none, with those that there are.
    pub fn milestone(&self, id: &str) -> Result<&Milestone> {
        let ids: Vec<_> = self.milestones.iter().map(|milestone| milestone.id.as_str()).collect();
        self.milestones.iter().find(|milestone| milestone.id == id).with_context(|| {
            format!("lab {} has no milestone \"{id}\"; it has: {}", self.name, ids.join(", "))
        })
    }

    /// The milestones of these ids, in the lab's order; all of them if none is named.
    ///
    /// # Errors
    /// When there is none of some id.
    pub fn selected(&self, ids: &[String]) -> Result<Vec<&Milestone>> {
        ids.iter().try_for_each(|id| self.milestone(id).map(drop))?;
        let is_wanted = |milestone: &&Milestone| ids.is_empty() || ids.contains(&milestone.id);
        Ok(self.milestones.iter().filter(is_wanted).collect())
    }

    fn check(&self, folder: &str) -> Result<()> {
        ensure!(self.name == folder, "name = \"{}\" must be the folder's, {folder}", self.name);
        ensure!(self.side_by_side > 0, "side_by_side = 0 must be at least 1");
        // What is there, but no file, is refused when it is read.
        let is_missing = |file: &&PathBuf| self.dir.join(file).symlink_metadata().is_err();
        if let Some(missing) = self.gap_files.iter().find(is_missing) {
            bail!("gap_files names {}, which is not there", missing.display());
        }
        let points: u32 = self.milestones.iter().map(|milestone| milestone.points).sum();
        ensure!(points == 100, "the points of the milestones add up to {points}, not to 100");
        let mut ids = BTreeSet::new();
        for milestone in &self.milestones {
            let id = &milestone.id;
            ensure!(ids.insert(id), "two milestones are called {id}");
            ensure!(is_slug(id), "the milestone id \"{id}\" may hold a-z, 0-9 and - only");
            milestone.check().with_context(|| format!("milestone {id}"))?;
        }
        Ok(())
    }
}

impl Milestone {
    /// The scenario that `seed` tries.
    pub fn scenario(&self, seed: u64) -> &Scenario {
        let count = u64::try_from(self.scenario.len()).expect("a lab has few scenarios");
        &self.scenario[usize::try_from(seed % count).expect("less than the count")]
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.scenario.is_empty(), "it needs a [[milestone.scenario]]");
        ensure!(
            usize::try_from(self.runs)? >= self.scenario.len(),
            "runs = {} would not reach each of its {} scenarios",
            self.runs,
            self.scenario.len()
        );
        for scenario in &self.scenario {
            scenario.check().with_context(|| format!("scenario {}", scenario.name))?;
        }
        Ok(())
    }
}

impl Scenario {
    /// What its clients do.
    ///
    /// # Errors
    /// When no workload has that name, or it cannot use the options.
    pub fn load_workload(&self) -> Result<Box<dyn Workload>> {
        labs::workload(&self.workload, &self.options)
    }

    /// Checks by all that the workload knows, unless it says by what.
    fn check_by_all(&mut self) -> Result<()> {
        if self.checks.is_empty() {
            let all = self.load_workload()?.checks();
            self.checks = all.iter().map(|check| (*check).to_owned()).collect();
        }
        Ok(())
    }

    /// The names of its nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|number| format!("n{number}")).collect()
    }

    /// When faults may strike, from and to, in milliseconds since the start.
    pub fn fault_window_ms(&self) -> [u64; 2] {
        [self.calm_ms[0], self.duration_ms.saturating_sub(self.calm_ms[1])]
    }

    fn check(&self) -> Result<()> {
        ensure!((1..=MAX_NODES).contains(&self.nodes), "nodes may be 1 to {MAX_NODES}");
        ensure!((1..=MAX_CLIENTS).contains(&self.clients), "clients may be 1 to {MAX_CLIENTS}");
        ensure!(
            self.duration_ms > self.calm_ms.iter().sum(),
            "duration_ms = {} leaves no time between the calms of {:?} ms",
            self.duration_ms,
            self.calm_ms
        );
        let workload = self.load_workload()?;
        let due_ms = workload.recovers_within_ms();
        ensure!(
            self.faults.is_empty() || self.calm_ms[1] >= due_ms,
            "the calm after the faults, calm_ms = {:?}, must give a right service {due_ms} ms",
            self.calm_ms
        );
        let [least, most] = self.disk_delay_ms;
        ensure!(least <= most, "disk_delay_ms is written [least, most]");
        for (known, wanted, what) in [
            (workload.checks(), self.checks.iter().collect::<Vec<_>>(), "checks"),
            (workload.bounds(), self.bounds.keys().collect(), "bounds"),
        ] {
            let unknown = wanted.iter().find(|name| !known.contains(&name.as_str()));
            if let Some(unknown) = unknown {
                bail!("{what} names \"{unknown}\"; there is: {}", known.join(", "));
            }
        }
        let decoder = workload.decoder();
        schedule::check(&self.faults, self.nodes, &decoder)
    }
}

fn is_slug(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}
