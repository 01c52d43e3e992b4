//! How each lab is judged: one room a lab, and the list of them.

pub mod kv;
pub mod lock;

use anyhow::{Context, Result};

use crate::{checker::Finding, history::Operation, workload::Workload};

/// How a history of a lab's clients is judged by itself, whoever wrote it.
#[derive(Clone, Copy)]
pub struct Histories {
    /// Whether an operation is one of the lab's, as `docs/histories.md` has them.
    pub check_form: fn(&Operation) -> Result<()>,
    /// The first thing that is wrong.
    pub check: fn(&[Operation]) -> Option<Finding>,
}

/// What the harness knows of a lab, besides what its `lab.toml` says.
pub struct Room {
    /// The lab's name, which is that of its workload, too.
    pub name: &'static str,
    /// What its clients do, with the options of a scenario.
    pub workload: fn(&toml::Table) -> Result<Box<dyn Workload>>,
    /// What `lab check --model` judges by this name, if it does.
    pub histories: Option<Histories>,
}

/// Every lab, in the order in which they are taught.
pub const ALL: &[Room] = &[lock::ROOM, kv::ROOM];

/// The names of all labs, for a sentence: `lock, kv`.
pub fn names() -> String {
    ALL.iter().map(|room| room.name).collect::<Vec<_>>().join(", ")
}

/// Where a lab comes in the order in which labs are taught; one that is not in the list comes last.
pub fn place(name: &str) -> usize {
    ALL.iter().position(|room| room.name == name).unwrap_or(ALL.len())
}

/// The workload `name` with the `options` of a scenario.
///
/// # Errors
/// When there is none of that name, or it has no such option.
pub fn workload(name: &str, options: &toml::Table) -> Result<Box<dyn Workload>> {
    let room = ALL.iter().find(|room| room.name == name);
    let room =
        room.with_context(|| format!("there is no workload \"{name}\"; there is: {}", names()))?;
    (room.workload)(options)
}
