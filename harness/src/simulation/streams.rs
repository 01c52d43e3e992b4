//! Standard output and standard error of a simulation. Its own reports go past the code of nodes,
//! which may print whatever it likes: into a run's logs where they are kept, nowhere else.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    sync::OnceLock,
};

use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::cluster::limits;

/// Standard output and standard error as the harness gave them.
static OWN: OnceLock<(File, File)> = OnceLock::new();

/// Takes both away from the code of nodes. To be called before any of it runs.
///
/// # Errors
/// When the system refuses.
pub fn take() -> io::Result<()> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let errors = io::stderr().as_fd().try_clone_to_owned()?;
    OWN.get_or_init(|| (output.into(), errors.into()));
    lead_to(&File::options().write(true).open("/dev/null")?)
}

/// Gives standard error back: no node runs any more.
pub fn give_back_errors() {
    if let Some((_, errors)) = OWN.get() {
        let _ = dup2_stderr(errors);
    }
}

/// Writes to the harness, in one piece.
///
/// # Errors
/// When nobody listens.
pub fn report(line: &[u8]) -> io::Result<()> {
    let (output, _) = OWN.get().expect("they are taken first of all");
    (&*output).write_all(line)
}

fn lead_to(file: &File) -> io::Result<()> {
    // A line that was not ended belongs to whoever began it.
    let _ = io::stdout().flush();
    dup2_stdout(file)?;
    dup2_stderr(file)?;
    Ok(())
}

/// What the nodes of one run print, while it lives.
pub struct Printed {
    file: File,
    taken: u64,
}

impl Printed {
    /// Collects it in a file in `folder`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn collect(folder: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(folder.join("printed"))?;
        lead_to(&file)?;
        Ok(Self { file, taken: 0 })
    }

    /// What is new.
    pub fn take(&mut self) -> Vec<u8> {
        let _ = io::stdout().flush();
        let end = self.file.metadata().map_or(0, |file| file.len());
        // More than that no log may hold.
        let length = end.saturating_sub(self.taken).min(limits::LOG);
        let mut new = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = self.file.read_at(&mut new, self.taken).unwrap_or(0);
        new.truncate(read);
        self.taken = end;
        new
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
            let _ = lead_to(&nowhere);
        }
    }
}
