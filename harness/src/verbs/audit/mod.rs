//! `lab audit`: grades the graders. Every variant against every milestone, and what is demanded.

mod demands;
mod simulated;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use console::style;

use self::demands::{Demand, Row, rows};
use super::begin;
use crate::{
    build::Kind,
    cluster::warden::Warden,
    gaps::GapFile,
    grade::{self, Request},
    lab::Lab,
    output,
    report::terminal::{Progress, indented, wrapped},
    variant::{Variant, starter},
    verdict::Verdict,
    workspace::Workspace,
};

/// What is to be audited.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The labs, for instance lock
    #[arg(required = true)]
    labs: Vec<String>,
    /// Only this variant; may be repeated
    #[arg(long)]
    variant: Vec<String>,
    /// Name the variants, and audit nothing
    #[arg(long)]
    list: bool,
    /// Leave out the wrong answers
    #[arg(long)]
    no_wrong: bool,
    /// How many grades each variant gets, one from each seed on; what they share is run once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    grades: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Make every run, also those of a milestone that has failed: its verdict is the gravest of all
    #[arg(long)]
    all: bool,
    /// How many clusters run side by side [default: what lab.toml says]
    #[arg(long)]
    jobs: Option<usize>,
    /// Grade only what something is demanded of, not the whole matrix; what some milestone has to
    /// catch, whichever, up to the one that has
    #[arg(long)]
    demanded: bool,
    #[command(flatten)]
    simulated: simulated::Simulated,
}

/// What one milestone said of one variant, in all grades.
struct Cell(Vec<Verdict>);

/// Audits every lab that was named: exit code 1 if a demand is unmet.
///
/// # Errors
/// When a lab or its answers cannot be read, or the harness fails.
pub fn run(args: &Args) -> Result<u8> {
    let workspace = Workspace::find()?;
    let warden = begin(&workspace, args.simulated.kind().unwrap_or(Kind::Node))?;
    let mut unmet = 0;
    for name in &args.labs {
        let lab = Lab::load(&workspace, name)?;
        let rows = wanted(rows(&workspace, &lab)?, &lab, args)?;
        if args.list {
            rows.iter().for_each(|row| output::print(&row.variant));
            continue;
        }
        unmet += match args.simulated.kind() {
            Some(kind) => simulated::audit(&workspace, &lab, &rows, kind, args, &warden)?,
            None => audit(&workspace, &lab, &rows, args, &warden)?,
        };
    }
    Ok(u8::from(unmet > 0))
}

/// The rows that were asked for.
fn wanted(mut rows: Vec<Row>, lab: &Lab, args: &Args) -> Result<Vec<Row>> {
    let names: Vec<_> = rows.iter().map(|row| row.variant.to_string()).collect();
    if let Some(unknown) = args.variant.iter().find(|asked| !names.contains(asked)) {
        bail!("no variant \"{unknown}\" of {} (there are: {})", lab.name, names.join(", "));
    }
    if !args.variant.is_empty() {
        rows.retain(|row| args.variant.contains(&row.variant.to_string()));
    }
    rows.retain(|row| !(args.no_wrong && matches!(row.variant, Variant::Wrong(_))));
    Ok(rows)
}

/// Audits one lab, prints the matrix, and returns how many demands are unmet.
fn audit(
    workspace: &Workspace,
    lab: &Lab,
    rows: &[Row],
    args: &Args,
    warden: &Warden,
) -> Result<usize> {
    let (mut matrix, mut unmet) = (String::new(), Vec::new());
    for row in rows {
        let cells = grade_row(workspace, lab, row, args, warden)?;
        for sentence in unmet_in(row, lab, &cells) {
            // An audit takes hours: nobody should wait for the table.
            output::say(format_args!("unmet: {sentence}"));
            unmet.push(sentence);
        }
        matrix += &show(row, lab, &cells);
    }
    let ungraded = ungraded_gaps(lab)?;
    output::print(matrix);
    output::print(wrapped(
        "* is demanded: the starter and every wrong answer pass quiet, each wrong answer is caught \
         by the milestone it names, each gap by its own, and the reference by none; a milestone \
         passes when the gaps are closed that lab.toml names for it.",
    ));
    if !ungraded.is_empty() {
        output::print(wrapped(&format!("No milestone grades these gaps yet: {ungraded:?}")));
    }
    match unmet.len() {
        0 => output::print(format_args!("audit of {}: every demand is met", lab.name)),
        count => output::print(format_args!("audit of {}: {count} unmet", lab.name)),
    }
    unmet.iter().for_each(|sentence| output::print(indented(sentence)));
    Ok(unmet.len())
}

fn grade_row(
    workspace: &Workspace,
    lab: &Lab,
    row: &Row,
    args: &Args,
    warden: &Warden,
) -> Result<Vec<Cell>> {
    let mut cells: Vec<_> = lab.milestones.iter().map(|_| Cell(Vec::new())).collect();
    let is_wanted = |at: &usize| !args.demanded || row.demands[*at] != Demand::Nothing;
    let wanted = match args.demanded && row.caught_somewhere {
        true => (0..cells.len()).map(|at| vec![at]).collect(),
        false => vec![(0..cells.len()).filter(is_wanted).collect::<Vec<_>>()],
    };
    for places in wanted {
        let milestones: Vec<_> = places.iter().map(|at| &lab.milestones[*at]).collect();
        let request = Request {
            variant: row.variant.clone(),
            milestones: milestones.iter().map(|milestone| milestone.id.clone()).collect(),
            seed: args.seed,
            runs: None,
            grades: args.grades,
            all: args.all,
            jobs: args.jobs.unwrap_or(lab.side_by_side),
        };
        let progress = Progress::new(format!("{} ({})", lab.name, row.variant));
        let graded = grade::grade(workspace, lab, &request, warden, &progress);
        progress.finish();
        let graded = graded?.0.milestones;
        for ((at, milestone), graded) in places.iter().zip(milestones).zip(&graded) {
            cells[*at] = Cell(request.verdicts(milestone, graded));
        }
        // What every grade has caught somewhere need not be caught in more milestones.
        if row.caught_somewhere && uncaught(&cells) == 0 {
            break;
        }
    }
    Ok(cells)
}

/// How many of the grades no milestone caught.
fn uncaught(cells: &[Cell]) -> usize {
    let grades = cells.iter().map(|cell| cell.0.len()).max().unwrap_or(0);
    let is_caught = |grade: &usize| {
        let verdicts = cells.iter().filter_map(|cell| cell.0.get(*grade));
        verdicts.copied().any(|verdict| Demand::Caught.is_met(verdict))
    };
    grades - (0..grades).filter(is_caught).count()
}

/// What each milestone said of the row, those left out that said nothing.
fn show(row: &Row, lab: &Lab, cells: &[Cell]) -> String {
    let said = lab.milestones.iter().zip(cells).zip(&row.demands);
    let said = said.filter(|((_, cell), _)| !cell.0.is_empty());
    let said: Vec<_> = said
        .map(|((milestone, cell), demand)| format!("{}\u{a0}{}", milestone.id, cell.show(*demand)))
        .collect();
    format!(
        "{}\n{}\n",
        style(&row.variant).bold(),
        indented(&said.join("; ")).replace('\u{a0}', " ")
    )
}

/// What is demanded of the row and was not so, one sentence each.
fn unmet_in(row: &Row, lab: &Lab, cells: &[Cell]) -> Vec<String> {
    let mut unmet = Vec::new();
    for ((demand, cell), milestone) in row.demands.iter().zip(cells).zip(&lab.milestones) {
        let missed = cell.0.iter().filter(|verdict| !demand.is_met(**verdict)).count();
        // What was not graded meets no demand.
        let is_empty = cell.0.is_empty() && *demand != Demand::Nothing;
        if missed > 0 || is_empty {
            unmet.push(format!(
                "{} must be {demand} in {}, and was not in {missed} of {} grades",
                row.variant,
                milestone.id,
                cell.0.len()
            ));
        }
    }
    let grades = cells.iter().map(|cell| cell.0.len()).max().unwrap_or(0);
    let missed = uncaught(cells);
    if row.caught_somewhere && missed > 0 {
        unmet.push(format!("nothing caught {} in {missed} of {grades} grades", row.variant));
    }
    unmet
}

impl Cell {
    /// The verdicts by how often they came, the demanded ones marked: `wrong* 20`, in one piece.
    fn show(&self, demand: Demand) -> String {
        let words: BTreeSet<_> = self.0.iter().map(|verdict| verdict.word()).collect();
        let mark = if demand == Demand::Nothing { "" } else { "*" };
        let count = |word: &str| self.0.iter().filter(|verdict| verdict.word() == word).count();
        let show = |word: &&str| format!("{word}{mark}\u{a0}{}", count(word));
        words.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// The gaps that no milestone is about.
fn ungraded_gaps(lab: &Lab) -> Result<Vec<u32>> {
    let mut gaps = BTreeSet::new();
    for text in starter(lab)?.values() {
        gaps.extend(GapFile::parse(text)?.gaps.into_iter().map(|(number, _)| number));
    }
    let graded = |gap: &u32| lab.milestones.iter().any(|milestone| milestone.gap == *gap);
    Ok(gaps.into_iter().filter(|gap| !graded(gap)).collect())
}
