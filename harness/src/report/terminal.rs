//! The terminal: progress while a grade runs, then a table, then the story of each failure.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{
    Cell, Color, ColumnConstraint, ContentArrangement, LineStyle, Table,
    presets::UTF8_HORIZONTAL_ONLY,
};
use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};
use textwrap::{Options, WordSeparator, WordSplitter};

use crate::{
    clean,
    grade::{
        Watcher,
        graded::{Grade, Milestone as Graded},
        run::Outcome,
    },
    lab::{Lab, Milestone},
    output,
    verdict::Verdict,
};

/// The columns of the table, and how wide a terminal must be to have room for each.
const HEADER: [(&str, usize); 6] =
    [("milestone", 0), ("", 100), ("verdict", 0), ("runs held", 60), (BITES, 80), ("points", 0)];
/// The only column that is broken into lines.
const BITES: &str = "faults that bit";

/// Shows progress on standard error: a bar on a terminal, a line for each failure elsewhere.
pub struct Progress {
    bar: ProgressBar,
    what: String,
}

impl Progress {
    /// Progress of grading `what`.
    pub fn new(what: String) -> Self {
        Self { bar: ProgressBar::new_spinner(), what: clean::sentence(&what) }
    }

    /// Clears the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Progress {
    fn building(&self) {
        // Cargo shows how far it is.
        output::say(format_args!("building {}", self.what));
    }

    fn running(&self, runs: usize) {
        self.bar.set_length(runs as u64);
        let template = "{spinner} {pos}/{len} runs of {msg}, {elapsed}";
        self.bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
        match Term::stderr().is_term() {
            true => self.bar.set_message(self.what.clone()),
            false => output::say(format_args!("running {}", self.what)),
        }
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn ran(&self, milestone: &Milestone, outcome: &Outcome) {
        self.bar.inc(1);
        if outcome.verdict != Verdict::Passed {
            let line =
                format!("  {} seed {}: {}", milestone.id, outcome.seed, coloured(outcome.verdict));
            say_beside(&self.bar, &line);
        }
    }

    fn spared(&self) {
        self.bar.inc(1);
    }
}

/// Says a line above `bar`, or where there is no terminal, and so no bar, by itself.
pub fn say_beside(bar: &ProgressBar, line: &str) {
    match Term::stderr().is_term() {
        true => bar.println(line),
        false => output::say(line),
    }
}

fn coloured(verdict: Verdict) -> console::StyledObject<&'static str> {
    let word = style(verdict.word()).for_stderr();
    match verdict {
        Verdict::Passed => word.green(),
        Verdict::Wrong | Verdict::Slow | Verdict::Broken => word.red(),
        Verdict::Inconclusive | Verdict::HarnessError => word.yellow(),
    }
}

/// Prints a grade: the table, the stories, and what to do next.
pub fn print(lab: &Lab, grade: &Grade) {
    output::print(table(grade, output::columns()));
    for milestone in &grade.milestones {
        if let Some(run) = worst(milestone) {
            print_story(lab, milestone, run);
        }
    }
    output::print(wrapped(&format!(
        "\n{} {} of {} points for {} ({}), in {:.1} s",
        style("score:").bold(),
        grade.score,
        grade.max_score,
        grade.lab,
        grade.variant,
        Duration::from_millis(grade.wall_ms).as_secs_f64(),
    )));
    if grade.variant == "mine" || grade.verdict() == Verdict::HarnessError {
        print_next_step(lab, grade);
    }
}

fn print_story(lab: &Lab, milestone: &Graded, run: &Outcome) {
    let promise = lab.milestones.iter().find(|known| known.id == milestone.id);
    let promise = promise.map(|milestone| milestone.promise.as_str()).unwrap_or_default();
    let (id, verdict) = (style(&milestone.id).bold(), milestone.verdict);
    let Outcome { seed, scenario, .. } = run;
    output::print(wrapped(&format!("\n{id} ({verdict}), seed {seed}, scenario {scenario}")));
    output::print(labelled("promised", promise));
    output::print(labelled("happened", &run.story));
    // Never broken up, so that it can be copied.
    output::print(format_args!("  again:    {}", run.replay));
}

/// What a learner may do next.
fn print_next_step(lab: &Lab, grade: &Grade) {
    let again = format!("cargo lab grade {}", grade.lab);
    let open = grade.milestones.iter().find(|milestone| milestone.verdict != Verdict::Passed);
    let proves_nothing = grade.verdict() == Verdict::HarnessError
        || open.is_some_and(|open| open.verdict == Verdict::Inconclusive);
    let known = open.and_then(|open| lab.milestones.iter().find(|known| known.id == open.id));
    let (words, command) = match known {
        _ if !grade.build.ok => ("make it compile, then".to_owned(), again),
        _ if grade.verdict() == Verdict::HarnessError => {
            ("this is no grade: mend what the harness failed by, then".to_owned(), again)
        }
        Some(Milestone { id, .. }) if proves_nothing => (
            format!("{id} says nothing about your code yet; try it again:"),
            format!("{again} --milestone {id}"),
        ),
        Some(Milestone { gap, id, .. }) => (
            format!("read about gap {gap} in labs/{}/README.md, mend it, then", grade.lab),
            format!("{again} --milestone {id}"),
        ),
        None if grade.milestones.len() == lab.milestones.len() => {
            ("try other schedules:".to_owned(), format!("{again} --seed 100 --runs 20"))
        }
        None => ("grade the other milestones:".to_owned(), again),
    };
    output::print(labelled("next", &words));
    output::print(format_args!("            {command}"));
    let needs: Vec<_> = known.into_iter().flat_map(Milestone::needs).collect();
    if let [first @ .., last] = &needs[..]
        && !first.is_empty()
        && grade.build.ok
        && !proves_nothing
    {
        let first: Vec<_> = first.iter().map(u32::to_string).collect();
        let needs = format!("it passes when gaps {} and {last} are closed", first.join(", "));
        output::print(labelled("needs", &needs));
    }
}

/// The text, broken into lines that are no wider than they may be.
pub fn wrapped(text: &str) -> String {
    wrapped_after("", text)
}

/// The same, a little to the right.
pub fn indented(text: &str) -> String {
    wrapped_after("  ", text)
}

/// The same, after a label.
pub fn labelled(label: &str, text: &str) -> String {
    wrapped_after(&format!("  {:<10}", format!("{label}:")), text)
}

fn wrapped_after(first: &str, text: &str) -> String {
    let rest = " ".repeat(first.len());
    // Names and paths stay in one piece where there is room.
    let options = Options::new(output::columns())
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(text, options.initial_indent(first).subsequent_indent(&rest))
}

/// The run to tell of: the first of those with the milestone's verdict, unless all is well.
fn worst(milestone: &Graded) -> Option<&Outcome> {
    let failed = milestone.verdict != Verdict::Passed;
    milestone.runs.iter().find(|run| failed && run.verdict == milestone.verdict)
}

fn table(grade: &Grade, columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(columns).unwrap_or(u16::MAX));
    let has_room = |(_, needed): &(&str, usize)| columns >= *needed;
    let header: Vec<_> = HEADER.into_iter().filter(has_room).map(|(name, _)| name).collect();
    table.set_header(&header);
    for (column, name) in table.column_iter_mut().zip(header) {
        if name != BITES {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let in_room = |cells: [Cell; 6]| {
        HEADER.into_iter().zip(cells).filter(move |(column, _)| has_room(column))
    };
    for milestone in &grade.milestones {
        let held = milestone.runs.iter().filter(|run| run.verdict == Verdict::Passed).count();
        let spared = match milestone.spared {
            0 => String::new(),
            count => format!(", {count} spared"),
        };
        let colour = match milestone.verdict {
            Verdict::Passed => Color::Green,
            Verdict::Wrong | Verdict::Slow | Verdict::Broken => Color::Red,
            Verdict::Inconclusive | Verdict::HarnessError => Color::Yellow,
        };
        table.add_row(
            in_room([
                Cell::new(&milestone.id),
                Cell::new(&milestone.title),
                Cell::new(milestone.verdict).fg(colour),
                Cell::new(format!("{held} of {}{spared}", milestone.runs.len())),
                Cell::new(bites(milestone)),
                Cell::new(format!("{} of {}", milestone.points, milestone.max_points)),
            ])
            .map(|(_, cell)| cell),
        );
    }
    table
}

/// What the faults did in all runs: `drop_reply 18 of 18, duplicate 20 of 24`.
fn bites(milestone: &Graded) -> String {
    let mut by_kind = BTreeMap::new();
    for (kind, bites) in milestone.runs.iter().flat_map(|run| &run.bites) {
        let (bit, injected) = by_kind.entry(kind).or_insert((0, 0));
        *bit += bites.bit;
        *injected += bites.injected;
    }
    let shown: Vec<_> = by_kind
        .into_iter()
        // Held together by spaces at which no line is broken.
        .map(|(kind, (bit, injected))| format!("{kind}\u{a0}{bit}\u{a0}of\u{a0}{injected}"))
        .collect();
    match shown.is_empty() {
        true => "none wanted".to_owned(),
        false => shown.join(", "),
    }
}
