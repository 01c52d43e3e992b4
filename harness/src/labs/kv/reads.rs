//! Reads: a leader answers one only once a majority has shown, since the read arrived, that it
//! still leads (Ongaro 2014, section 6.4). No clock can stand in for that.

use std::collections::BTreeMap;

use crate::checker::{Finding, seconds};

/// A node answered a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// Which node.
    pub node: &'a str,
    /// Who asked.
    pub client: &'a str,
    /// For what.
    pub key: String,
    /// When the question reached the node, in microseconds since the start of the run.
    pub delivered_us: u64,
    /// When the node had answered.
    pub told_us: u64,
}

/// A leader asked another node, and was answered by it in the same term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The leader.
    pub node: &'a str,
    /// The other.
    pub peer: &'a str,
    /// When it asked.
    pub sent_us: u64,
    /// When it had the answer.
    pub answered_us: u64,
}

/// The first read that a node answered while too few of the `nodes` nodes had answered it.
pub fn unconfirmed(
    reads: &[Read<'_>],
    exchanges: &[Exchange<'_>],
    nodes: usize,
) -> Option<Finding> {
    let others = nodes / 2;
    let answers = Answers::new(exchanges);
    reads.iter().find_map(|read| {
        let confirmed = answers.within(read.node, read.delivered_us, read.told_us);
        (confirmed < others).then(|| {
            let sentence = format!(
                "{} was asked for {} by {} at {} and answered at {}, though only {confirmed} of \
                 the other nodes had answered it since. It should have heard from {others} of \
                 them: whoever was replaced as the leader does not know.",
                read.node,
                read.key,
                read.client,
                seconds(read.delivered_us),
                seconds(read.told_us),
            );
            let clients = vec![read.client.to_owned()];
            Finding { sentence, since_us: read.delivered_us, at_us: read.told_us, clients }
        })
    })
}

/// By leader and peer, in the order of the questions: when it was asked, and the earliest answer to
/// that question or a later one.
struct Answers<'a>(BTreeMap<(&'a str, &'a str), Vec<(u64, u64)>>);

impl<'a> Answers<'a> {
    fn new(exchanges: &[Exchange<'a>]) -> Self {
        let mut answers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for it in exchanges {
            answers.entry((it.node, it.peer)).or_default().push((it.sent_us, it.answered_us));
        }
        for times in answers.values_mut() {
            times.sort_unstable();
            let mut earliest_us = u64::MAX;
            for (_, answered_us) in times.iter_mut().rev() {
                earliest_us = earliest_us.min(*answered_us);
                *answered_us = earliest_us;
            }
        }
        Self(answers)
    }

    /// How many peers were asked by `node`, and had answered, between these two moments.
    fn within(&self, node: &str, from_us: u64, until_us: u64) -> usize {
        let peers = self.0.iter().filter(|((leader, _), _)| *leader == node);
        let answered = peers.filter(|(_, times)| {
            let asked = times.partition_point(|(sent_us, _)| *sent_us < from_us);
            times.get(asked).is_some_and(|(_, earliest_us)| *earliest_us <= until_us)
        });
        answered.count()
    }
}
