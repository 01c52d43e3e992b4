//! What an audit demands: of which variants, of which milestones.

use std::{collections::BTreeSet, fmt};

use anyhow::{Context, Result};

use crate::{
    lab::{Lab, Milestone},
    variant::{Answers, Variant},
    verdict::Verdict,
    workspace::Workspace,
};

/// What a milestone must say of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Pass,
    /// Anything but passed: where other gaps are open a fault may wait in vain for its message.
    Fail,
    /// `wrong` or `slow`.
    Caught,
    Exactly(Verdict),
    Nothing,
}

impl Demand {
    /// Whether `verdict` is what is demanded.
    pub fn is_met(self, verdict: Verdict) -> bool {
        match self {
            // That says nothing of the variant, and proves nothing.
            _ if verdict == Verdict::HarnessError => false,
            Self::Pass => verdict == Verdict::Passed,
            Self::Fail => verdict != Verdict::Passed,
            Self::Caught => matches!(verdict, Verdict::Wrong | Verdict::Slow),
            Self::Exactly(wanted) => verdict == wanted,
            Self::Nothing => true,
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => formatter.write_str("passed"),
            Self::Fail => formatter.write_str("anything but passed"),
            Self::Caught => formatter.write_str("wrong or slow"),
            Self::Exactly(verdict) => write!(formatter, "{verdict}"),
            Self::Nothing => formatter.write_str("anything"),
        }
    }
}

/// A row of the matrix: a variant and what each milestone must say of it.
pub struct Row {
    pub variant: Variant,
    /// By milestone, in the lab's order.
    pub demands: Vec<Demand>,
    /// A demand on the whole row: some milestone must catch it.
    pub caught_somewhere: bool,
}

/// Every row of a lab's matrix.
///
/// # Errors
/// When its answers are not part of this copy, or one makes no sense.
pub fn rows(workspace: &Workspace, lab: &Lab) -> Result<Vec<Row>> {
    let answers = Answers::of(workspace, lab);
    let reference = answers.reference()?;
    let quiet = lab.milestones.first().context("a lab has milestones")?;
    let each = |demand: &dyn Fn(&Milestone) -> Demand| lab.milestones.iter().map(demand).collect();
    let mut rows = vec![
        Row {
            variant: Variant::Starter,
            demands: each(&|it| if it.id == quiet.id { Demand::Pass } else { Demand::Fail }),
            caught_somewhere: false,
        },
        Row {
            variant: Variant::Reference,
            demands: each(&|_| Demand::Pass),
            caught_somewhere: false,
        },
    ];
    let graded: BTreeSet<u32> = lab.milestones.iter().map(|milestone| milestone.gap).collect();
    rows.extend(graded.into_iter().map(|gap| Row {
        variant: Variant::Gap(gap),
        // What the quiet milestone cannot see, some later one must.
        demands: each(&|it| match it.gap == gap && it.id != quiet.id {
            true => Demand::Caught,
            false => Demand::Nothing,
        }),
        caught_somewhere: gap == quiet.gap,
    }));
    // Whoever goes from gap to gap sees each promise kept in its turn.
    rows.extend(lab.milestones.iter().filter(|it| it.id != quiet.id).map(|milestone| Row {
        variant: Variant::Closed(milestone.needs()),
        demands: each(&|it| if it.id == milestone.id { Demand::Pass } else { Demand::Nothing }),
        caught_somewhere: false,
    }));
    for name in answers.wrong_names() {
        let wrong = answers.wrong(&name)?;
        wrong.applied(&reference)?;
        lab.milestone(&wrong.caught_by).with_context(|| format!("{name}.patch"))?;
        rows.push(Row {
            variant: Variant::Wrong(name),
            demands: each(&|it| match &it.id {
                id if *id == wrong.caught_by => Demand::Exactly(wrong.verdict),
                id if *id == quiet.id => Demand::Pass,
                _ => Demand::Nothing,
            }),
            caught_somewhere: false,
        });
    }
    Ok(rows)
}
