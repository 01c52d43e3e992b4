//! The terminal: progress while a grade runs, then a table, then the story of each failure.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{
    Cell, Color, ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY,
};
use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    grade::{
        Watcher,
        graded::{Grade, Milestone as Graded},
        run::Outcome,
    },
    lab::{Lab, Milestone},
    verdict::Verdict,
};

/// Longer lines are hard to read on the widest of screens.
const WIDEST: usize = 110;

/// Shows progress on standard error: a bar on a terminal, a line for each failure elsewhere.
pub struct Progress {
    bar: ProgressBar,
    what: String,
}

impl Progress {
    /// Progress of grading `what`.
    pub fn new(what: String) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a fixed template"),
        );
        Self { bar, what }
    }

    /// Clears the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, text: &str) {
        match Term::stderr().is_term() {
            true => self.bar.set_message(text.to_owned()),
            false => eprintln!("{text}"),
        }
    }
}

impl Watcher for Progress {
    fn building(&self) {
        self.say(&format!("building {}", self.what));
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn running(&self, runs: usize) {
        self.bar.set_length(runs as u64);
        let template = "{spinner} {pos}/{len} runs of {msg}, {elapsed}";
        self.bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
        self.say(&self.what);
    }

    fn ran(&self, milestone: &Milestone, outcome: &Outcome) {
        self.bar.inc(1);
        if outcome.verdict != Verdict::Passed {
            let line =
                format!("  {} seed {}: {}", milestone.id, outcome.seed, coloured(outcome.verdict));
            print_beside(&self.bar, &line);
        }
    }

    fn spared(&self) {
        self.bar.inc(1);
    }
}

/// Prints a line above `bar`, or where there is no terminal, and so no bar, by itself.
pub fn print_beside(bar: &ProgressBar, line: &str) {
    match Term::stderr().is_term() {
        true => bar.println(line),
        false => eprintln!("{line}"),
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
    println!("{}", table(grade));
    let mut stories = String::new();
    for milestone in &grade.milestones {
        if let Some(run) = worst(milestone) {
            let promise = lab.milestones.iter().find(|known| known.id == milestone.id);
            let promise = promise.map(|milestone| milestone.promise.as_str()).unwrap_or_default();
            stories += &format!(
                "\n{} ({}), seed {}, scenario {}\n{}\n{}\n  again:    {}\n",
                style(&milestone.id).bold(),
                milestone.verdict,
                run.seed,
                run.scenario,
                labelled("promised", promise),
                labelled("happened", &run.story),
                // Never broken up, so that it can be copied.
                run.replay,
            );
        }
    }
    print!("{stories}");
    println!(
        "\n{} {} of {} points for {} ({}), in {:.1} s",
        style("score:").bold(),
        grade.score,
        grade.max_score,
        grade.lab,
        grade.variant,
        Duration::from_millis(grade.wall_ms).as_secs_f64(),
    );
    if grade.variant == "mine" {
        println!("next:  {}", next_step(lab, grade));
    }
}

/// What a learner may do next.
fn next_step(lab: &Lab, grade: &Grade) -> String {
    let name = &grade.lab;
    if !grade.build.ok {
        return format!("make it compile, then cargo lab grade {name}");
    }
    let open = grade.milestones.iter().find(|milestone| milestone.verdict != Verdict::Passed);
    let Some(open) = open else {
        return match grade.milestones.len() == lab.milestones.len() {
            true => format!("other schedules: cargo lab grade {name} --seed 100 --runs 20"),
            false => format!("the other milestones: cargo lab grade {name}"),
        };
    };
    let known = lab.milestones.iter().find(|known| known.id == open.id);
    let gap = known.map_or(0, |it| it.gap);
    let needs: Vec<_> = known.into_iter().flat_map(Milestone::needs).collect();
    let needs = match &needs[..] {
        [first @ .., last] if !first.is_empty() => {
            let first: Vec<_> = first.iter().map(u32::to_string).collect();
            format!("\n       (it passes when gaps {} and {last} are closed)", first.join(", "))
        }
        _ => String::new(),
    };
    format!(
        "read about gap {gap} in labs/{name}/README.md, mend it, then\n       \
         cargo lab grade {name} --milestone {}{needs}",
        open.id
    )
}

/// Text after a label, wrapped to the terminal's width.
pub fn labelled(label: &str, text: &str) -> String {
    let first = format!("  {:<10}", format!("{label}:"));
    let rest = " ".repeat(first.len());
    let width = textwrap::termwidth().min(WIDEST);
    let options = textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&rest);
    textwrap::fill(text, options.break_words(false))
}

/// The run to tell of: the first of those with the milestone's verdict, unless all is well.
fn worst(milestone: &Graded) -> Option<&Outcome> {
    let failed = milestone.verdict != Verdict::Passed;
    milestone.runs.iter().find(|run| failed && run.verdict == milestone.verdict)
}

fn table(grade: &Grade) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["milestone", "", "verdict", "runs held", "faults that bit", "points"]);
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
        table.add_row([
            Cell::new(&milestone.id),
            Cell::new(&milestone.title),
            Cell::new(milestone.verdict).fg(colour),
            Cell::new(format!("{held} of {}{spared}", milestone.runs.len())),
            Cell::new(bites(milestone)),
            Cell::new(format!("{} of {}", milestone.points, milestone.max_points)),
        ]);
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
        .map(|(kind, (bit, injected))| format!("{kind} {bit} of {injected}"))
        .collect();
    match shown.is_empty() {
        true => "none wanted".to_owned(),
        false => shown.join(", "),
    }
}
