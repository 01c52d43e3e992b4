//! Majorities: a node that reaches none decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::{Answer, Outcome};
use crate::{
    checker::{Finding, Late, seconds},
    fabric::weather::Weather,
};

/// No node grants a new token while it reaches no majority, from the arrival of the request to its
/// answer. Telling a grant again that somebody was told before is no new token.
pub fn granted_alone(answers: &[Answer], weather: &Weather) -> Option<Finding> {
    let mut by_time: Vec<_> = answers.iter().collect();
    by_time.sort_by_key(|answer| answer.told_us);
    let mut told: BTreeSet<(&str, u64)> = BTreeSet::new();
    by_time.into_iter().find_map(|answer| {
        let Outcome::Granted(token) = answer.outcome else { return None };
        let is_new = told.insert((&answer.lock, token));
        let alone = weather.was_alone(&answer.node, answer.delivered_us, answer.told_us);
        (is_new && alone).then(|| {
            let sentence = format!(
                "{} granted {} to {} with token {token} at {}, though it reached no majority of \
                 the nodes since before it was asked at {}. It should have been UNAVAILABLE.",
                answer.node,
                answer.lock,
                answer.owner,
                seconds(answer.told_us),
                seconds(answer.delivered_us),
            );
            let clients = vec![answer.owner.clone()];
            Finding { sentence, since_us: answer.delivered_us, at_us: answer.told_us, clients }
        })
    })
}

/// A question to one node, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which node was asked.
    pub node: String,
    /// By whom.
    pub client: String,
    /// When.
    pub call_us: u64,
    /// When the client had the answer, or stopped waiting.
    pub return_us: u64,
    /// Whether the answer says what a majority knows: anything but UNAVAILABLE, an error, nothing.
    pub decided: bool,
}

/// A node that runs and reaches a majority does not go on for more than `bound_us` of calm without
/// a decision, however often it is asked.
pub fn every_node_decides(asks: &[Ask], bound_us: u64, weather: &Weather) -> Option<Late> {
    let mut by_node: BTreeMap<&str, Vec<&Ask>> = BTreeMap::new();
    for ask in asks {
        by_node.entry(&ask.node).or_default().push(ask);
    }
    by_node.into_values().find_map(|mut asks| {
        asks.sort_by_key(|ask| ask.call_us);
        let streaks = asks.split(|ask| ask.decided);
        streaks.into_iter().find_map(|streak| {
            let is_well =
                |ask: &&&Ask| weather.well_from(&ask.node, ask.call_us, bound_us) == ask.call_us;
            let (first, last) = (streak.iter().find(is_well)?, streak.last()?);
            let took_us = last.return_us.saturating_sub(first.call_us);
            (took_us > bound_us).then(|| undecided(first, last, took_us, bound_us))
        })
    })
}

fn undecided(first: &Ask, last: &Ask, took_us: u64, bound_us: u64) -> Late {
    let sentence = format!(
        "{} was asked at {} and again and again until {}, and decided nothing for {}, though it \
         reached a majority of the nodes. It should have decided within {}.",
        first.node,
        seconds(first.call_us),
        seconds(last.return_us),
        seconds(took_us),
        seconds(bound_us),
    );
    let (since_us, at_us) = (first.call_us, last.return_us);
    let finding = Finding { sentence, since_us, at_us, clients: vec![first.client.clone()] };
    Late { finding, took_us, bound_us }
}
