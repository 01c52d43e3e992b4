//! Variants: the lab with its gap files swapped, by one mechanism for all of them.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};

pub use crate::submission::GapTexts;
use crate::{
    gaps::GapFile,
    lab::Lab,
    submission::{Submission, read},
    verdict::Verdict,
    workspace::Workspace,
};

/// Whose code is in the gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The working tree as it is.
    Mine,
    /// The pristine lab.
    Starter,
    /// Every gap filled.
    Reference,
    /// The reference with one gap left naive.
    Gap(u32),
    /// The pristine lab with these gaps filled.
    Closed(BTreeSet<u32>),
    /// A plausible mistake, kept as a patch to the reference.
    Wrong(String),
    /// A submission: its gap files laid over the pristine lab.
    Folder(PathBuf),
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "mine" => Self::Mine,
            "starter" => Self::Starter,
            "reference" => Self::Reference,
            _ if text.starts_with("gap:") => {
                let number = text["gap:".len()..].parse();
                Self::Gap(number.with_context(|| format!("{text}: write gap: and its number"))?)
            }
            _ if text.starts_with("closed:") => {
                let numbers = text["closed:".len()..].split(',').map(str::parse);
                let numbers: Result<_, _> = numbers.collect();
                Self::Closed(numbers.with_context(|| {
                    format!("{text}: write closed: and numbers of gaps, with commas in between")
                })?)
            }
            _ if text.starts_with("wrong:") => Self::Wrong(text["wrong:".len()..].to_owned()),
            _ if Path::new(text).is_dir() => Self::Folder(PathBuf::from(text)),
            _ => bail!(
                "\"{text}\" is no variant and no folder; use mine, starter, reference, gap:N, \
                 closed:N,M, wrong:NAME, or the folder of a submission"
            ),
        })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mine => formatter.write_str("mine"),
            Self::Starter => formatter.write_str("starter"),
            Self::Reference => formatter.write_str("reference"),
            Self::Gap(number) => write!(formatter, "gap:{number}"),
            Self::Closed(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(formatter, "closed:{}", numbers.join(","))
            }
            Self::Wrong(name) => write!(formatter, "wrong:{name}"),
            Self::Folder(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl Variant {
    /// The variant's name as part of a folder's name.
    pub fn slug(&self) -> String {
        let text = match self {
            Self::Folder(path) => {
                let name = path.canonicalize().unwrap_or_else(|_| path.clone());
                name.file_name().map_or("folder".into(), |name| name.to_string_lossy().into_owned())
            }
            _ => self.to_string(),
        };
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
        text.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect()
    }

    /// What goes into the gap files; `None` for the working tree, which is built where it is.
    ///
    /// # Errors
    /// When the variant does not exist for this lab, or a file of it is missing.
    pub fn gap_texts(&self, workspace: &Workspace, lab: &Lab) -> Result<Option<GapTexts>> {
        let answers = Answers::of(workspace, lab);
        Ok(Some(match self {
            Self::Mine => {
                // What is handed in must be what any other grade can take.
                lab.gap_files.iter().try_for_each(|path| read(&lab.dir.join(path)).map(drop))?;
                return Ok(None);
            }
            Self::Starter => starter(lab)?,
            Self::Reference => answers.reference()?,
            Self::Gap(number) => {
                let reference = answers.reference()?;
                let mixed = mix(&reference, &starter(lab)?, |gap| gap == *number)?;
                ensure!(mixed != reference, "lab {} has no gap {number}", lab.name);
                mixed
            }
            Self::Closed(numbers) => {
                let reference = answers.reference()?;
                let mut known = BTreeSet::new();
                for text in reference.values() {
                    known.extend(GapFile::parse(text)?.gaps.into_iter().map(|(number, _)| number));
                }
                if let Some(unknown) = numbers.difference(&known).next() {
                    bail!("lab {} has no gap {unknown}", lab.name);
                }
                mix(&starter(lab)?, &reference, |gap| numbers.contains(&gap))?
            }
            Self::Wrong(name) => answers.wrong(name)?.applied(&answers.reference()?)?,
            Self::Folder(folder) => Submission::find(lab, folder)?.texts()?,
        }))
    }

    /// The files of a submission that are not used.
    ///
    /// # Errors
    /// When it lacks a gap file.
    pub fn not_used(&self, workspace: &Workspace, lab: &Lab) -> Result<Vec<String>> {
        match self {
            Self::Folder(folder) => Ok(Submission::find(lab, folder)?.not_used(workspace, lab)),
            _ => Ok(Vec::new()),
        }
    }
}

/// The pristine gap files.
///
/// # Errors
/// When one is missing.
pub fn starter(lab: &Lab) -> Result<GapTexts> {
    read_flat(lab, &lab.dir.join(".starter"))
}

fn mix(base: &GapTexts, other: &GapTexts, wanted: impl Fn(u32) -> bool) -> Result<GapTexts> {
    let mix = |(path, text): (&PathBuf, &String)| {
        let other = GapFile::parse(&other[path])?;
        Ok((path.clone(), GapFile::parse(text)?.with_gaps_of(&other, &wanted)))
    };
    base.iter().map(mix).collect()
}

/// Reads the gap files from a folder that holds them side by side.
fn read_flat(lab: &Lab, folder: &Path) -> Result<GapTexts> {
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        Ok((path.clone(), read(&folder.join(name))?))
    };
    lab.gap_files.iter().map(read).collect()
}

/// The answers to a lab: its reference and its wrong answers.
pub struct Answers<'a> {
    lab: &'a Lab,
    dir: PathBuf,
}

/// A plausible mistake.
#[derive(Clone, Debug)]
pub struct WrongAnswer {
    /// Its name: that of its file.
    pub name: String,
    /// The milestone that must catch it.
    pub caught_by: String,
    /// The verdict that it must get there.
    pub verdict: Verdict,
    patch: String,
}

impl<'a> Answers<'a> {
    /// The answers to `lab`, which need not be there: they are no part of what is handed out.
    pub fn of(workspace: &Workspace, lab: &'a Lab) -> Self {
        Self { lab, dir: workspace.path("tests/answers").join(&lab.name) }
    }

    /// Whether they are there.
    pub fn are_here(&self) -> bool {
        self.dir.is_dir()
    }

    /// The gap files, filled.
    ///
    /// # Errors
    /// When they are not part of this copy.
    pub fn reference(&self) -> Result<GapTexts> {
        ensure!(
            self.are_here(),
            "the answers to lab {} are not part of this copy, so only mine, starter and folders \
             can be graded",
            self.lab.name
        );
        read_flat(self.lab, &self.dir.join("reference"))
    }

    /// The names of the wrong answers.
    pub fn wrong_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("wrong")).into_iter().flatten().flatten();
        let name = |path: PathBuf| match path.extension() {
            Some(extension) if extension == "patch" => {
                Some(path.file_stem()?.to_string_lossy().into_owned())
            }
            _ => None,
        };
        let mut names: Vec<_> = entries.filter_map(|entry| name(entry.path())).collect();
        names.sort();
        names
    }

    /// The wrong answer `name`.
    ///
    /// # Errors
    /// When there is none of that name, or its file does not say what must catch it.
    pub fn wrong(&self, name: &str) -> Result<WrongAnswer> {
        let names = self.wrong_names();
        ensure!(
            names.iter().any(|known| known == name),
            "lab {} has no wrong answer \"{name}\"; it has: {}",
            self.lab.name,
            names.join(", ")
        );
        let path = self.dir.join("wrong").join(format!("{name}.patch"));
        let patch = read(&path)?;
        let catches = patch.lines().find_map(|line| line.strip_prefix("catches: "));
        let words: Vec<_> = catches.unwrap_or_default().split_whitespace().collect();
        let (caught_by, verdict) = match words[..] {
            [milestone, "wrong"] => (milestone.to_owned(), Verdict::Wrong),
            [milestone, "slow"] => (milestone.to_owned(), Verdict::Slow),
            _ => bail!("{}: write a line \"catches: MILESTONE wrong|slow\"", path.display()),
        };
        Ok(WrongAnswer { name: name.to_owned(), caught_by, verdict, patch })
    }
}

impl WrongAnswer {
    /// The gap files with this mistake in them.
    ///
    /// # Errors
    /// When the patch does not fit the reference.
    pub fn applied(&self, reference: &GapTexts) -> Result<GapTexts> {
        let mut texts = reference.clone();
        let starts: Vec<_> = self.patch.match_indices("\n--- a/").map(|(at, _)| at + 1).collect();
        ensure!(!starts.is_empty(), "{}.patch holds no line \"--- a/FILE\"", self.name);
        let ends = starts[1..].iter().copied().chain([self.patch.len()]);
        for (start, end) in starts.iter().zip(ends) {
            self.apply_one(&self.patch[*start..end], &mut texts)?;
        }
        Ok(texts)
    }

    fn apply_one(&self, diff: &str, texts: &mut GapTexts) -> Result<()> {
        let name = diff.lines().next().and_then(|line| line.strip_prefix("--- a/"));
        let name = name.unwrap_or_default().trim();
        let text = texts.iter_mut().find(|(path, _)| path.ends_with(name));
        let Some((_, text)) = text else {
            bail!("{}.patch changes {name}, which is no gap file", self.name)
        };
        let patch = diffy::Patch::from_str(diff).with_context(|| self.name.clone())?;
        *text = diffy::apply(text, &patch)
            .with_context(|| format!("{}.patch does not fit the reference's {name}", self.name))?;
        Ok(())
    }
}
