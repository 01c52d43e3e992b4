//! Terms: what a node has spoken of, it knows after a restart (Ongaro and Ousterhout 2014, figure
//! 2: the term is saved before a node answers).

use crate::checker::{Finding, Restart, seconds};

/// A node spoke of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Which node.
    pub node: &'a str,
    /// To whom.
    pub to: &'a str,
    /// Its term.
    pub term: u64,
    /// When it spoke, at the earliest, in microseconds since the start of the run.
    pub since_us: u64,
    /// When it had spoken.
    pub at_us: u64,
    /// Whether others may rely on it; what only asks, or promises nothing, need not be saved
    /// before.
    pub binds: bool,
}

/// The first word of a restarted node that is of a lower term than one it had spoken of before.
pub fn forgotten(words: &[Word<'_>], restarts: &[Restart]) -> Option<Finding> {
    let forgets = |restart: &Restart| {
        let own = || words.iter().filter(|word| word.node == restart.node);
        let known = own().filter(|word| word.binds && word.at_us <= restart.fell_us);
        let known = known.max_by_key(|word| word.term)?;
        let later = own().filter(|it| it.since_us > restart.back_us && it.term < known.term);
        Some((*known, *later.min_by_key(|word| word.at_us)?))
    };
    let (known, later) = restarts.iter().find_map(forgets)?;
    let sentence = format!(
        "{} was in term {} when it told {} something at {}, and again in term {} when it told {} \
         something at {}, after a restart. A node should save its term before anybody hears of it.",
        known.node,
        known.term,
        known.to,
        seconds(known.at_us),
        later.term,
        later.to,
        seconds(later.at_us),
    );
    Some(Finding { sentence, since_us: known.at_us, at_us: later.at_us, clients: Vec::new() })
}
