//! Terms: the clock of the protocol (section 5.1).

use super::{Raft, Role};

impl Raft {
    /// All servers: what the term of a message says. Returns whether the message counts.
    pub(super) fn sees_term(&mut self, term: u64) -> bool {
        if term > self.term {
            self.follow(term);
        }
        term == self.term
    }

    /// Becomes a follower in `term`, which is this term or a higher one.
    pub(super) fn follow(&mut self, term: u64) {
        if term > self.term {
            self.leader = None;
            // GAP 1: a new term begins. What of the old one is over, and what has to be remembered?
            self.term = term;
            // END GAP
        }
        if let Role::Leader(leadership) = std::mem::replace(&mut self.role, Role::Follower) {
            self.leader = None;
            for read in leadership.into_reads() {
                self.refuse(read.ticket);
            }
            self.wait_for_leader();
        }
    }

    /// Starts to wait for a leader anew: at the start, when one has been heard of or voted for, when
    /// this node stands, and when it leads no longer. Not when a candidate is refused, or one that
    /// cannot win would keep those that can from standing.
    pub(super) fn wait_for_leader(&mut self) {
        self.election_due_ms = self.now_ms + self.draw_timeout_ms();
    }
}
