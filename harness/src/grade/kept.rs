//! The folders of grades and other runs: which is newer, which are kept, and what they say of how
//! far the learner is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};

use super::graded::Grade;
use crate::{files::read_json, verdict::Verdict};

/// How many grades are kept, and how many of those that went wrong.
const KEPT_GRADES: usize = 10;
const KEPT_FAILURES: usize = 30;

/// What is not finished and was touched so lately is perhaps still running.
const RUNNING: Duration = Duration::from_secs(24 * 60 * 60);

/// How a folder's name starts: the time in UTC.
const TIME: &str = "%Y%m%d-%H%M%S";
const TIME_LENGTH: usize = "20261122-192153".len();

/// Makes a folder in `runs` whose name starts with the time. A name says which folder is newer,
/// whatever the clock does: it is later than every name that is there.
///
/// # Errors
/// When the disk refuses.
pub fn new_runs_dir(runs: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(runs).with_context(|| format!("cannot make {}", runs.display()))?;
    loop {
        let now = Timestamp::now().to_zoned(TimeZone::UTC).datetime();
        let newest = newest_first(runs)?.first().and_then(|dir| time_of(dir));
        let next = newest.and_then(|newest| newest.checked_add(1.second()).ok());
        let time = next.map_or(now, |next| next.max(now));
        let dir = runs.join(format!("{}-{name}", time.strftime(TIME)));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                return made
                    .map(|()| dir.clone())
                    .with_context(|| format!("cannot make {}", dir.display()));
            }
        }
    }
}

/// What the learner's own code last came to, by lab and milestone, in whichever grade that was.
pub fn progress(runs: &Path) -> BTreeMap<(String, String), Verdict> {
    let mut progress = BTreeMap::new();
    for dir in newest_first(runs).unwrap_or_default() {
        for (milestone, verdict) in grade_in(&dir).iter().flat_map(news) {
            progress.entry(milestone).or_insert(verdict);
        }
    }
    progress
}

/// Removes old grades, but none that says how far the learner is.
///
/// # Errors
/// When the disk refuses.
pub(super) fn forget_old(runs: &Path) -> Result<()> {
    let mut told = BTreeSet::new();
    let (mut grades, mut failures) = (0, 0);
    for dir in newest_first(runs)? {
        let grade = grade_in(&dir);
        if grade.is_none() && is_fresh(&dir) {
            continue;
        }
        let new =
            grade.iter().flat_map(news).filter(|(milestone, _)| told.insert(milestone.clone()));
        if new.count() > 0 {
            continue;
        }
        let passed = grade.is_some_and(|grade| grade.verdict() == Verdict::Passed);
        let (count, most) = match passed {
            true => (&mut grades, KEPT_GRADES),
            false => (&mut failures, KEPT_FAILURES),
        };
        *count += 1;
        if *count > most {
            match fs::remove_dir_all(&dir) {
                // Another grade is tidying up, too.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", dir.display()))?,
            }
        }
    }
    Ok(())
}

/// Whether something was made in `dir` within a day; a time to come is as good.
fn is_fresh(dir: &Path) -> bool {
    let modified = fs::metadata(dir).and_then(|dir| dir.modified());
    modified.is_ok_and(|modified| modified.elapsed().unwrap_or_default() < RUNNING)
}

fn grade_in(dir: &Path) -> Option<Grade> {
    read_json(&dir.join("grade.json")).ok()
}

/// What a grade says of how far the learner is, by lab and milestone: nothing, where the harness
/// failed.
fn news(grade: &Grade) -> impl Iterator<Item = ((String, String), Verdict)> {
    let milestones = grade.milestones.iter().filter(|_| grade.variant == "mine");
    milestones
        .filter(|milestone| milestone.verdict != Verdict::HarnessError)
        .map(|milestone| ((grade.lab.clone(), milestone.id.clone()), milestone.verdict))
}

/// The folders of runs; a name that does not start with a time is none of ours.
fn newest_first(runs: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(runs) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", runs.display()))?,
    };
    let mut dirs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    dirs.retain(|dir| time_of(dir).is_some());
    dirs.sort_by(|one, other| other.cmp(one));
    Ok(dirs)
}

fn time_of(dir: &Path) -> Option<DateTime> {
    DateTime::strptime(TIME, dir.file_name()?.to_str()?.get(..TIME_LENGTH)?).ok()
}
