//! Leaders: in each term at most one node acts as one (Ongaro and Ousterhout 2014, figure 3).

use std::collections::BTreeMap;

use super::{Finding, seconds};

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
    let mut by_time: Vec<_> = claims.iter().collect();
    by_time.sort_by_key(|claim| claim.at_us);
    let mut first: BTreeMap<u64, &Claim<'_>> = BTreeMap::new();
    by_time.into_iter().find_map(|claim| {
        let earlier = first.entry(claim.term).or_insert(claim);
        (earlier.node != claim.node).then(|| {
            let sentence = format!(
                "{} sent entries as the leader of term {} at {}, and so did {} at {}. A term should \
                 have one leader at most.",
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
