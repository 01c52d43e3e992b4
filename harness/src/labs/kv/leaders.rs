//! Leaders: in each term at most one node acts as one (Ongaro and Ousterhout 2014, figure 3), since
//! nobody votes for two (section 5.2).

use std::collections::BTreeMap;

use crate::{
    checker::{Finding, Late, seconds},
    fabric::weather::Weather,
};

/// A node acted as the leader of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Which term.
    pub term: u64,
    /// Which node.
    pub node: &'a str,
    /// When, in microseconds since the start of the run.
    pub at_us: u64,
}

/// The first claim to a term that another node had claimed before.
pub fn two_in_a_term(claims: &[Claim<'_>]) -> Option<Finding> {
    let first = first_of_each_term(claims);
    let mut by_time: Vec<_> = claims.iter().collect();
    by_time.sort_by_key(|claim| claim.at_us);
    by_time.into_iter().find_map(|claim| {
        let earlier = first[&claim.term];
        (earlier.node != claim.node).then(|| {
            let sentence = format!(
                "{} sent entries as the leader of term {} at {}, and so did {} at {}. A term \
                 should have one leader at most.",
                earlier.node,
                claim.term,
                seconds(earlier.at_us),
                claim.node,
                seconds(claim.at_us),
            );
            let (since_us, at_us) = (earlier.at_us, claim.at_us);
            Finding { sentence, since_us, at_us, clients: Vec::new() }
        })
    })
}

/// Somebody stands when its leader was silent for an election timeout. Within this time, in
/// microseconds, a leader that is heard says something often,
const HEARD_WITHIN_US: u64 = 1_000_000;
/// and a machine that keeps it silent for a part of this may be why it was not heard.
const SILENCE_US: u64 = 400_000;

/// The first leader that was replaced when it and the others of some majority had been able to
/// speak to each other for more than `bound_us` (PreVote is to prevent that: Ongaro 2014, section
/// 9.6).
pub fn replaced(claims: &[Claim<'_>], bound_us: u64, weather: &Weather) -> Option<Late> {
    let terms: Vec<_> = first_of_each_term(claims).into_values().collect();
    terms.windows(2).find_map(|pair| {
        let (earlier, claim) = (pair[0], pair[1]);
        let since_us = weather.steady_since(earlier.node, claim.at_us);
        (claim.at_us - since_us > bound_us).then(|| {
            let sentence = format!(
                "{} led term {}, and {} led term {} from {} on, though {} and others, a majority, \
                 could speak to each other since {}. After {} of that whoever leads should go on.",
                earlier.node,
                earlier.term,
                claim.node,
                claim.term,
                seconds(claim.at_us),
                earlier.node,
                seconds(since_us),
                seconds(bound_us),
            );
            let (since_us, at_us) = (claim.at_us.saturating_sub(HEARD_WITHIN_US), claim.at_us);
            let finding = Finding { sentence, since_us, at_us, clients: Vec::new() };
            Late { finding, took_us: HEARD_WITHIN_US, bound_us: SILENCE_US }
        })
    })
}

/// The first claim to each term.
fn first_of_each_term<'a, 'b>(claims: &'b [Claim<'a>]) -> BTreeMap<u64, &'b Claim<'a>> {
    let mut first: BTreeMap<u64, &Claim<'_>> = BTreeMap::new();
    for claim in claims {
        let earliest = first.entry(claim.term).or_insert(claim);
        if claim.at_us < earliest.at_us {
            *earliest = claim;
        }
    }
    first
}

/// A node gave its vote for a term: to who asked for it, or to itself when it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote<'a> {
    /// Which term.
    pub term: u64,
    /// Who voted.
    pub node: &'a str,
    /// For whom.
    pub candidate: &'a str,
    /// When it had said so, in microseconds since the start of the run.
    pub at_us: u64,
}

/// The first vote of a node that had voted for another candidate in the same term.
pub fn voted_twice(votes: &[Vote<'_>]) -> Option<Finding> {
    let mut by_time: Vec<_> = votes.iter().collect();
    by_time.sort_by_key(|vote| vote.at_us);
    let mut first: BTreeMap<(u64, &str), &Vote<'_>> = BTreeMap::new();
    by_time.into_iter().find_map(|vote| {
        let earlier = first.entry((vote.term, vote.node)).or_insert(vote);
        (earlier.candidate != vote.candidate).then(|| {
            let whom = |vote: &Vote<'_>| match vote.candidate == vote.node {
                true => "itself".to_owned(),
                false => vote.candidate.to_owned(),
            };
            let sentence = format!(
                "{} voted for {} in term {} by {}, and for {} in the same term by {}. A node has \
                 one vote a term, restarted or not.",
                vote.node,
                whom(earlier),
                vote.term,
                seconds(earlier.at_us),
                whom(vote),
                seconds(vote.at_us),
            );
            let (since_us, at_us) = (earlier.at_us, vote.at_us);
            Finding { sentence, since_us, at_us, clients: Vec::new() }
        })
    })
}
