//! The words for what came of a run, a milestone or a grade.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What can be said of a run, and of a milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The promise held.
    Passed,
    /// Safety was violated.
    Wrong,
    /// A bound was missed, and not because the machine was busy.
    Slow,
    /// A fault that the scenario names hit nothing, or the machine was too busy to tell.
    Inconclusive,
    /// It does not build, start or answer.
    Broken,
    /// The harness failed; never the learner's fault.
    HarnessError,
}

impl Verdict {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Wrong => "wrong",
            Self::Slow => "slow",
            Self::Inconclusive => "inconclusive",
            Self::Broken => "broken",
            Self::HarnessError => "harness_error",
        }
    }

    /// The exit code of a grade that came to this: 4 > 2 > 1 > 3 > 0 when several apply.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Wrong | Self::Slow => 1,
            Self::Broken => 2,
            Self::Inconclusive => 3,
            Self::HarnessError => 4,
        }
    }

    /// The verdict that speaks for all of several: the gravest; `Passed` for none.
    pub fn gravest(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let gravity = |verdict: &Self| match verdict {
            Self::HarnessError => 5,
            Self::Broken => 4,
            Self::Wrong => 3,
            Self::Slow => 2,
            Self::Inconclusive => 1,
            Self::Passed => 0,
        };
        verdicts.into_iter().max_by_key(gravity).unwrap_or(Self::Passed)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_several_verdicts_is_that_of_the_gravest() {
        use Verdict::{Broken, HarnessError, Inconclusive, Passed, Slow, Wrong};
        for (verdicts, code) in [
            (vec![Passed, Passed], 0),
            (vec![Passed, Inconclusive], 3),
            (vec![Inconclusive, Wrong], 1),
            (vec![Slow, Inconclusive], 1),
            (vec![Wrong, Broken], 2),
            (vec![Broken, HarnessError], 4),
        ] {
            assert_eq!(Verdict::gravest(verdicts.clone()).exit_code(), code, "{verdicts:?}");
        }
    }
}
