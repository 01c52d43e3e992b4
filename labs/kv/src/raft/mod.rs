//! A Raft server as in figure 2 of the paper (Ongaro and Ousterhout 2014, the extended version,
//! which the numbers of sections here are of): its state, and what happens to it. Nothing here
//! waits, sends or saves: handlers change the state and note in [`Effects`] what there is to do.

mod availability;
mod election;
pub mod log;
pub mod message;
mod reads;
mod repair;
mod replication;
mod snapshots;
mod terms;

use std::collections::{BTreeMap, BTreeSet};

use proto::kv::{Command, HardState, NotLeader, Unavailable, reply::Outcome};

use self::{
    log::Log,
    message::{FromPeer, ToPeer},
    reads::Read,
    replication::Leadership,
    snapshots::Incoming,
};
use crate::machine::Machine;

/// A client that waits for an outcome.
pub type Ticket = u64;

/// One server.
pub struct Raft {
    id: String,
    peers: Vec<String>,

    // Persistent: saved before anything that rests on it is said.
    term: u64,
    voted_for: Option<String>,
    log: Log,

    // Volatile.
    role: Role,
    leader: Option<String>,
    commit_index: u64,
    last_applied: u64,
    machine: Machine,
    /// Up to where this node's own disk has the log.
    saved_index: u64,
    /// The clients that wait for entries, by index, and the term in which those were proposed.
    waiting: BTreeMap<u64, (u64, Ticket)>,
    /// A snapshot that is arriving.
    incoming: Incoming,

    /// This node's clock, as of the event that is being handled.
    now_ms: u64,
    /// When it last heard from a leader, of whichever term.
    heard_ms: Option<u64>,
    /// When it stands for election, unless it hears from a leader before.
    election_due_ms: u64,

    effects: Effects,
}

/// What a server is in its term.
enum Role {
    Follower,
    /// Asks whether it would be elected; holds who said yes.
    PreCandidate(BTreeSet<String>),
    /// Stands; holds who voted for it.
    Candidate(BTreeSet<String>),
    Leader(Leadership),
}

/// What there is to do after an event.
#[derive(Default)]
pub struct Effects {
    /// Questions to peers.
    pub messages: Vec<(String, ToPeer)>,
    /// Answers for clients.
    pub outcomes: Vec<(Ticket, Outcome)>,
    /// What has changed and must be saved.
    pub unsaved: Unsaved,
}

/// What the disk does not have yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unsaved {
    /// Term and vote.
    pub hard_state: Option<HardState>,
    /// The snapshot.
    pub snapshot: bool,
    /// The log from this index on.
    pub log_from: Option<u64>,
}

impl Raft {
    /// A server that remembers `hard_state` and `log`.
    ///
    /// # Errors
    /// When the log's snapshot is damaged.
    pub fn new(
        id: String,
        peers: Vec<String>,
        hard_state: HardState,
        log: Log,
        now_ms: u64,
    ) -> Result<Self, prost::DecodeError> {
        let snapshot = log.snapshot();
        let (machine, applied) = (Machine::restore(&snapshot.machine)?, snapshot.last_index);
        let saved_index = log.last_index();
        let mut raft = Self {
            id,
            peers,
            term: hard_state.term,
            voted_for: Some(hard_state.voted_for).filter(|name| !name.is_empty()),
            log,
            role: Role::Follower,
            leader: None,
            commit_index: applied,
            last_applied: applied,
            machine,
            saved_index,
            waiting: BTreeMap::new(),
            incoming: Incoming::default(),
            now_ms,
            heard_ms: None,
            election_due_ms: 0,
            effects: Effects::default(),
        };
        raft.wait_for_leader();
        Ok(raft)
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// When [`Self::tick`] wants to be called, on this node's clock.
    pub fn due_ms(&self) -> u64 {
        match &self.role {
            Role::Leader(leadership) => leadership.due_ms(),
            _ => self.election_due_ms,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if let Role::Leader(leadership) = &mut self.role {
            leadership.ticked_ms = now_ms;
        }
        match self.role {
            Role::Leader(_) if !self.still_leads() => self.follow(self.term),
            Role::Leader(_) => self.send_heartbeats(),
            _ if now_ms >= self.election_due_ms => self.on_election_due(),
            _ => {}
        }
    }

    /// A peer asks.
    pub fn on_request(&mut self, now_ms: u64, request: ToPeer) -> FromPeer {
        self.now_ms = now_ms;
        match request {
            ToPeer::Vote(request) => FromPeer::Vote(self.on_vote_request(request)),
            ToPeer::Append(request, _) => FromPeer::Append(self.on_append_entries(request)),
            ToPeer::Snapshot(request) => FromPeer::Snapshot(self.on_snapshot(request)),
        }
    }

    /// A peer has answered `request`, or, if there is no reply, has not in time.
    pub fn on_reply(&mut self, now_ms: u64, peer: &str, request: &ToPeer, reply: Option<FromPeer>) {
        self.now_ms = now_ms;
        match (request, reply) {
            (ToPeer::Vote(request), Some(FromPeer::Vote(reply))) => {
                self.on_vote_reply(peer, request, reply);
            }
            (ToPeer::Append(request, round), Some(FromPeer::Append(reply))) => {
                self.on_append_reply(peer, request, *round, reply);
            }
            (ToPeer::Snapshot(request), Some(FromPeer::Snapshot(reply))) => {
                self.on_snapshot_reply(peer, request, reply);
            }
            (request, _) => self.on_no_reply(peer, request),
        }
    }

    /// A client wants to write.
    pub fn on_write(&mut self, now_ms: u64, command: Command, ticket: Ticket) {
        self.now_ms = now_ms;
        match self.role {
            Role::Leader(_) => {
                let index = self.propose(Some(command));
                self.waiting.insert(index, (self.term, ticket));
            }
            _ => self.refuse(ticket),
        }
    }

    /// A client wants to read.
    pub fn on_read(&mut self, now_ms: u64, key: String, ticket: Ticket) {
        self.now_ms = now_ms;
        match self.role {
            Role::Leader(_) => self.read(Read { key, ticket }),
            _ => self.refuse(ticket),
        }
    }

    /// This node's disk has the log up to `index`.
    pub fn on_saved(&mut self, index: u64) {
        self.saved_index = index.min(self.log.last_index());
    }

    /// Does what has become possible, and hands out what there is to do.
    pub fn settle(&mut self) -> Effects {
        self.advance_commit();
        self.apply();
        self.answer_reads();
        self.compact();
        self.replicate();
        std::mem::take(&mut self.effects)
    }

    /// All servers: applies what is committed.
    fn apply(&mut self) {
        while self.last_applied < self.commit_index {
            let Some(entry) = self.log.get(self.last_applied + 1) else { break };
            let (term, command) = (entry.term, entry.command.clone());
            self.last_applied += 1;
            let waiting = self.waiting.remove(&self.last_applied);
            let ours = waiting.is_some_and(|(proposed_in, _)| proposed_in == term);
            let outcome = command.map(|command| self.machine.apply(command));
            if let Some((_, ticket)) = waiting {
                // Another leader's entry took the place of what the client waits for.
                let lost = || Outcome::Unavailable(Unavailable {});
                let outcome = outcome.filter(|_| ours).unwrap_or_else(lost);
                self.effects.outcomes.push((ticket, outcome));
            }
        }
    }

    /// Term and vote must be saved as they are now.
    fn remember(&mut self) {
        let voted_for = self.voted_for.clone().unwrap_or_default();
        self.effects.unsaved.hard_state = Some(HardState { term: self.term, voted_for });
    }

    /// The log is new from `index` on.
    fn log_changed(&mut self, index: u64) {
        self.saved_index = self.saved_index.min(index - 1);
        let from = &mut self.effects.unsaved.log_from;
        *from = Some(from.map_or(index, |from| from.min(index)));
    }

    fn refuse(&mut self, ticket: Ticket) {
        let hint = self.leader.clone().unwrap_or_default();
        self.effects.outcomes.push((ticket, Outcome::NotLeader(NotLeader { hint })));
    }

    /// How many servers are more than half of all.
    fn majority(&self) -> usize {
        let servers = self.peers.len() + 1;
        servers / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use proto::kv::{AppendEntriesReply, Snapshot, VoteReply};

    use super::*;

    /// One of three, which has waited for a leader in vain.
    fn candidate() -> Raft {
        let peers = vec!["n2".to_owned(), "n3".to_owned()];
        let log = Log::new(Snapshot::default(), Vec::new());
        let mut raft = Raft::new("n1".to_owned(), peers, HardState::default(), log, 0).unwrap();
        raft.tick(raft.due_ms());
        raft
    }

    /// Both others answer what they are asked, to this server's liking.
    fn answer_all(raft: &mut Raft) {
        for (peer, question) in raft.settle().messages {
            let term = raft.term;
            let reply = match &question {
                ToPeer::Vote(_) => FromPeer::Vote(VoteReply { term, granted: true }),
                ToPeer::Append(request, _) => {
                    let match_index = request.prev_index + request.entries.len() as u64;
                    let ok =
                        AppendEntriesReply { term, ok: true, match_index, ..Default::default() };
                    FromPeer::Append(ok)
                }
                ToPeer::Snapshot(_) => panic!("the log has not been cut"),
            };
            raft.on_reply(raft.now_ms, &peer, &question, Some(reply));
        }
    }

    #[test]
    fn a_leader_that_always_has_something_to_send_looks_up_all_the_same() {
        let mut raft = candidate();
        // With or without asking first whether it would be elected.
        for _ in 0..2 {
            answer_all(&mut raft);
        }
        assert!(matches!(raft.role, Role::Leader(_)));
        answer_all(&mut raft);
        let (leads_ms, due_ms) = (raft.now_ms, raft.due_ms());
        for now_ms in leads_ms..due_ms {
            raft.on_write(now_ms, Command::default(), now_ms);
            answer_all(&mut raft);
        }
        assert_eq!(raft.due_ms(), due_ms);
    }

    #[test]
    fn whoever_hears_of_a_higher_term_alone_stands_no_later_for_it() {
        let mut raft = candidate();
        let (asked_ms, due_ms) = (raft.now_ms, raft.due_ms());
        let Effects { messages, .. } = raft.settle();
        let (peer, request) = messages.first().expect("somebody is asked for a vote");
        let reply = FromPeer::Vote(VoteReply { term: 9, granted: false });
        raft.on_reply(asked_ms + 1, peer, request, Some(reply));
        assert_eq!((raft.term, raft.due_ms()), (9, due_ms));
    }
}
