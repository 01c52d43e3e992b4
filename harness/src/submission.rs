//! What somebody hands in: gap files, read the same way wherever they lie, and what lies beside
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;

use crate::{lab::Lab, sources::is_source, workspace::Workspace};

/// The gap files of a variant: their text by their path in the lab's folder.
pub type GapTexts = BTreeMap<PathBuf, String>;

/// The most that a file may have.
const LARGEST: u64 = 1 << 20;
/// How many files that are not used are named.
const NAMED: usize = 10;
/// What systems and tools put beside the code.
const BESIDE: [&str; 8] =
    [".DS_Store", ".git", ".idea", ".vscode", "Thumbs.db", "__MACOSX", "desktop.ini", "target"];

/// A folder with gap files for a lab.
pub struct Submission {
    folder: PathBuf,
    /// The folder itself, or the only one in it.
    root: PathBuf,
    /// Where each gap file was found.
    found: Vec<(PathBuf, PathBuf)>,
}

impl Submission {
    /// Finds the gap files of `lab` in `folder`, or in the only folder that this holds.
    ///
    /// # Errors
    /// When one is missing: which, and what a submission is.
    pub fn find(lab: &Lab, folder: &Path) -> Result<Self> {
        let mut roots = vec![folder.to_owned()];
        let is_folder = |path: &PathBuf| is_source(path) && path.is_dir() && !is_beside(path);
        let folders: Vec<_> = entries(folder).into_iter().filter(is_folder).collect();
        if let [only] = &*folders {
            roots.push(only.clone());
        }
        let holds_any =
            |root: &&PathBuf| lab.gap_files.iter().any(|it| place(lab, root, it).is_some());
        let root = roots.iter().find(holds_any).unwrap_or(&roots[0]);
        let find = |path: &PathBuf| match place(lab, root, path) {
            Some(found) => Ok((path.clone(), found)),
            None => bail!(
                "{} holds no {}: a submission for lab {} is a folder with {}",
                folder.display(),
                path.display(),
                lab.name,
                names(lab)
            ),
        };
        let found = lab.gap_files.iter().map(find).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_owned(), root: root.clone(), found })
    }

    /// The text of its gap files.
    ///
    /// # Errors
    /// When one cannot be taken: which, where, and why.
    pub fn texts(&self) -> Result<GapTexts> {
        let text = |(path, found): &(PathBuf, PathBuf)| {
            self.refuse_links(found)?;
            Ok((path.clone(), read(found)?))
        };
        self.found.iter().map(text).collect()
    }

    /// A link on the way to `found` may lead to what somebody else wrote.
    fn refuse_links(&self, found: &Path) -> Result<()> {
        let mut way = found.ancestors().skip(1).take_while(|place| *place != self.folder);
        way.find(|place| place.is_symlink()).map_or(Ok(()), |link| {
            bail!("{} is a link: put the folder itself there", link.display())
        })
    }

    /// The files in it that are not used, but for those that are as they were handed out.
    pub fn not_used(&self, workspace: &Workspace, lab: &Lab) -> Vec<String> {
        let used: BTreeSet<_> = self.found.iter().map(|(_, found)| found.clone()).collect();
        let mut files = Vec::new();
        files_in(&self.folder, &mut files);
        files.retain(|file| !used.contains(file));
        let shown = files.iter().filter_map(|file| {
            let shown = file.strip_prefix(&self.folder).ok()?;
            let name = file.strip_prefix(&self.root).unwrap_or(shown);
            let places = [lab.dir.join("src"), lab.dir.clone(), workspace.path("")];
            let is_ours = places.iter().any(|place| is_same(&place.join(name), file));
            (!is_ours).then(|| shown.display().to_string().escape_debug().to_string())
        });
        shown.collect()
    }
}

/// What to say of files that are not used; `None` if there are none.
pub fn tell(lab: &Lab, not_used: &[String]) -> Option<String> {
    let more = match not_used.len().saturating_sub(NAMED) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let named = not_used[..not_used.len().min(NAMED)].join(", ");
    let names = names(lab);
    (!not_used.is_empty())
        .then(|| format!("not used: {named}{more} (of a submission, only {names} are taken)"))
}

/// Reads a gap file: a regular file of at most 1 MiB in UTF-8. What editors on other systems write,
/// a byte order mark and CRLF, is mended.
///
/// # Errors
/// When it is something else: where, and what to do.
pub fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let kind = fs::symlink_metadata(path).with_context(|| format!("cannot read {shown}"))?;
    ensure!(kind.is_file(), "{shown} is no regular file: put the file itself there");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut bytes = Vec::new();
    let read = file.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {shown}"))?;
    ensure!(bytes.len() as u64 <= LARGEST, "{shown} has more than 1 MiB: hand in less");
    let text = str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{shown}:{line} is not UTF-8: save the file in that encoding")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n"))
}

/// Where a gap file lies in `root`: as in the lab, flat, or as in a checkout.
fn place(lab: &Lab, root: &Path, path: &Path) -> Option<PathBuf> {
    let flat = PathBuf::from(path.file_name()?);
    let places = [path.to_owned(), flat, Path::new("labs").join(&lab.name).join(path)];
    // Whatever it is: what is no file is refused when it is read.
    let exists = |place: &PathBuf| fs::symlink_metadata(place).is_ok();
    places.iter().map(|place| root.join(place)).find(exists)
}

fn names(lab: &Lab) -> String {
    lab.gap_files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether it is what systems, tools and editors leave, which nobody takes for a part of the code.
fn is_beside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_swap = name.starts_with('.') && [".swo", ".swp"].iter().any(|end| name.ends_with(end));
    let is_editors = name.starts_with('#') || name.starts_with(".#") || name.ends_with('~');
    let is_systems = name.starts_with("._") || BESIDE.contains(&&*name);
    is_swap || is_editors || is_systems
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(folder).into_iter().filter(|path| !is_beside(path)) {
        match fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
            true => files_in(&path, files),
            false => files.push(path),
        }
    }
}

/// Whether both are files with the same content.
fn is_same(one: &Path, other: &Path) -> bool {
    let is_small = |path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= LARGEST);
    is_small(one) && is_small(other) && fs::read(one).ok() == fs::read(other).ok()
}
