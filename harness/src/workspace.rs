//! The checkout that the harness works in, and the places it keeps things.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root of a Faultline checkout.
#[derive(Clone, Debug)]
pub struct Workspace(PathBuf);

impl Workspace {
    /// The checkout around the working directory.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self> {
        let here = env::current_dir().context("the working directory is gone")?;
        let is_root = |dir: &&Path| dir.join("labs/node").is_dir() && dir.join("harness").is_dir();
        let root = here.ancestors().find(is_root);
        let root = root.context("run this inside a checkout of Faultline, where labs/ is")?;
        Ok(Self(root.to_owned()))
    }

    /// A path inside the checkout.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.join(relative)
    }

    /// The one target folder of every build.
    pub fn target(&self) -> PathBuf {
        self.path("target")
    }

    /// Where the harness keeps programs, runs and the scratch tree.
    pub fn lab_dir(&self) -> PathBuf {
        self.path("target/lab")
    }

    /// The folders of grades and other runs.
    pub fn runs_dir(&self) -> PathBuf {
        self.lab_dir().join("runs")
    }
}

/// A path as shown to a person: relative to the working directory where it lies below that.
pub fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
