//! Reads that no other leader can have overtaken (Ongaro 2014, section 6.4: read index).

use super::{Raft, Role, Ticket};

/// A client that wants to read.
pub struct Read {
    pub key: String,
    pub ticket: Ticket,
}

/// A read that waits.
pub struct PendingRead {
    pub read: Read,
    /// Until a majority has answered this round of messages,
    round: u64,
    /// and until everything up to here is applied.
    index: u64,
}

impl Raft {
    /// A client of this leader reads.
    pub(super) fn read(&mut self, read: Read) {
        // GAP 7: another node may lead by now, and have told more. When is it known that none does?
        let Role::Leader(leadership) = &mut self.role else { return };
        let index = self.commit_index.max(leadership.first_index);
        let round = leadership.round + 1;
        leadership.reads.push(PendingRead { read, round, index });
        // END GAP
    }

    /// Begins a round for reads that are new, and answers those that may be answered.
    pub(super) fn answer_reads(&mut self) {
        let majority = self.majority();
        let applied = self.last_applied;
        let Role::Leader(leadership) = &mut self.role else { return };
        let newest = leadership.reads.iter().map(|pending| pending.round).max();
        if newest.is_some_and(|round| round > leadership.round) {
            leadership.round += 1;
            for peer in self.peers.clone() {
                self.send_to(&peer);
            }
        }
        let Role::Leader(leadership) = &mut self.role else { return };
        let mut answered = Vec::new();
        let reads = std::mem::take(&mut leadership.reads);
        for pending in reads {
            let confirmed = leadership.answered(pending.round) + 1 >= majority;
            if confirmed && applied >= pending.index {
                answered.push(pending.read);
            } else {
                leadership.reads.push(pending);
            }
        }
        for Read { key, ticket } in answered {
            self.answer_read(&key, ticket);
        }
    }

    /// Answers from this node's own state.
    fn answer_read(&mut self, key: &str, ticket: Ticket) {
        let value = self.machine.get(key);
        self.effects.outcomes.push((ticket, proto::kv::reply::Outcome::Ok(value)));
    }
}
