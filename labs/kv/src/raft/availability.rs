//! When to give up on a leader, and when to give up leading.

use super::{Raft, Role};

/// How long a node waits for a leader at least, in milliseconds: some heartbeats, and slow links.
pub(super) const ELECTION_MS: u64 = 300;

impl Raft {
    /// How long this node waits for a leader before it stands, in milliseconds: not as long as others,
    /// or votes would be split again and again.
    pub(super) fn draw_timeout_ms(&self) -> u64 {
        rand::random_range(ELECTION_MS..2 * ELECTION_MS)
    }

    // GAP 9: a node can be cut off on one side. When does a node stand for election, and when does a
    // leader stop?

    /// No leader has been heard of for that long.
    pub(super) fn on_election_due(&mut self) {
        self.stand();
    }

    /// Whether this leader goes on leading.
    pub(super) fn still_leads(&self) -> bool {
        true
    }
    // END GAP

    /// Whether there is a leader, as far as this node can tell: then it helps nobody to replace it.
    /// A leader hears itself, so this is not whether it goes on.
    pub(super) fn hears_a_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
            || self.heard_ms.is_some_and(|heard_ms| self.now_ms < heard_ms + ELECTION_MS)
    }
}
