//! A grade as JSON, format 1: for scripts, graders of courses, and later reports.

use serde::{Deserialize, Serialize};

use super::run::Outcome;
use crate::{build::CompileError, verdict::Verdict};

/// A grade.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grade {
    /// The format of this file: 1.
    pub format: u32,
    /// Which lab.
    pub lab: String,
    /// Which variant of it.
    pub variant: String,
    /// The files of a submission that were not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_used: Vec<String>,
    /// Which engine.
    pub engine: String,
    /// The points.
    pub score: u32,
    /// The points there were to have.
    pub max_score: u32,
    /// How long it took, in milliseconds, building included.
    pub wall_ms: u64,
    /// How the build went.
    pub build: Build,
    /// The milestones that were graded.
    pub milestones: Vec<Milestone>,
}

/// How the build went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Build {
    /// Whether there is a program.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
    /// Why there is none.
    pub errors: Vec<CompileError>,
}

/// A milestone's grade.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Milestone {
    /// Its short name.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// The points.
    pub points: u32,
    /// The points there were to have.
    pub max_points: u32,
    /// The gravest verdict of the runs that were made.
    pub verdict: Verdict,
    /// Its runs.
    pub runs: Vec<Outcome>,
    /// How many more were planned, and not made because it had failed.
    #[serde(default)]
    pub spared: usize,
}

impl Grade {
    /// The gravest verdict of all milestones.
    pub fn verdict(&self) -> Verdict {
        Verdict::gravest(self.milestones.iter().map(|milestone| milestone.verdict))
    }
}
