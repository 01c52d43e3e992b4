//! Elections (sections 5.2 and 5.4.1), with a round before that changes no terms (PreVote, Ongaro
//! 2014, section 9.6).

use std::collections::BTreeSet;

use proto::kv::{VoteReply, VoteRequest};

use super::{Raft, Role, message::ToPeer, replication::Leadership};

impl Raft {
    /// Asks the others whether they would vote for this node.
    pub(super) fn ask_before_standing(&mut self) {
        self.leader = None;
        self.role = Role::PreCandidate(BTreeSet::new());
        self.count_vote(self.id.clone());
        self.ask_for_votes(self.term + 1, true);
    }

    /// Stands for election in a new term.
    pub(super) fn stand(&mut self) {
        self.term += 1;
        self.voted_for = Some(self.id.clone());
        self.leader = None;
        self.remember();
        self.role = Role::Candidate(BTreeSet::new());
        self.wait_for_leader();
        self.ask_for_votes(self.term, false);
        self.count_vote(self.id.clone());
    }

    fn ask_for_votes(&mut self, term: u64, pre_vote: bool) {
        let request = VoteRequest {
            term,
            candidate: self.id.clone(),
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            pre_vote,
        };
        let ask = |peer: &String| (peer.clone(), ToPeer::Vote(request.clone()));
        self.effects.messages.extend(self.peers.iter().map(ask));
    }

    /// A candidate asks for a vote.
    pub(super) fn on_vote_request(&mut self, request: VoteRequest) -> VoteReply {
        let granted = if request.pre_vote {
            request.term > self.term && !self.hears_a_leader() && self.may_lead(&request)
        } else {
            self.sees_term(request.term) && self.votes_for(&request)
        };
        VoteReply { term: self.term, granted }
    }

    /// A candidate of this term wants this node's vote.
    fn votes_for(&mut self, request: &VoteRequest) -> bool {
        let granted = self.decides_for(request);
        if granted {
            self.wait_for_leader();
        }
        granted
    }

    // GAP 4: who may lead, who gets this node's vote, and what has to survive a restart?

    /// Whether the candidate could lead this node (section 5.4.1).
    fn may_lead(&self, request: &VoteRequest) -> bool {
        let own = (self.log.last_term(), self.log.last_index());
        (request.last_term, request.last_index) >= own
    }

    /// Votes for the candidate, or does not.
    fn decides_for(&mut self, request: &VoteRequest) -> bool {
        let is_free = self.voted_for.as_ref().is_none_or(|name| *name == request.candidate);
        let granted = is_free && self.may_lead(request);
        if granted {
            self.voted_for = Some(request.candidate.clone());
            self.remember();
        }
        granted
    }
    // END GAP

    /// A peer has answered a candidate.
    pub(super) fn on_vote_reply(&mut self, peer: &str, request: &VoteRequest, reply: VoteReply) {
        if reply.term > self.term {
            self.sees_term(reply.term);
            return;
        }
        let is_for_this = match self.role {
            Role::PreCandidate(_) => request.pre_vote && request.term == self.term + 1,
            Role::Candidate(_) => !request.pre_vote && request.term == self.term,
            _ => false,
        };
        if is_for_this && reply.granted {
            self.count_vote(peer.to_owned());
        }
    }

    fn count_vote(&mut self, voter: String) {
        let majority = self.majority();
        match &mut self.role {
            Role::PreCandidate(votes) => {
                votes.insert(voter);
                if votes.len() >= majority {
                    self.stand();
                }
            }
            Role::Candidate(votes) => {
                votes.insert(voter);
                if votes.len() >= majority {
                    self.lead();
                }
            }
            _ => {}
        }
    }

    /// Leads from now on, and says so with an entry of its own term (section 8).
    fn lead(&mut self) {
        tracing::info!(term = self.term, "leads");
        self.leader = Some(self.id.clone());
        let next_index = self.log.last_index() + 1;
        self.role = Role::Leader(Leadership::new(&self.peers, next_index, self.now_ms));
        self.propose(None);
    }
}
