//! One vote of the majority: what it has promised, what it has accepted, and since when.

use std::{collections::HashMap, sync::Mutex};

use node::{Clock, Context, Disk};
use proto::lock::{
    AcceptReply, AcceptRequest, Accepted, Ballot, LockState, PrepareReply, PrepareRequest,
};

use crate::lease::lease_of;

/// What this node has promised and accepted, for every lock.
pub struct Voter {
    disk: Disk,
    clock: Clock,
    votes: Mutex<HashMap<String, Vote>>,
}

/// The vote on one lock.
#[derive(Clone, Default)]
struct Vote {
    saved: SavedVote,
    /// When this start of the node first knew the lease that the accepted state holds.
    lease_since_ms: u64,
}

/// The part of a vote that must survive a crash.
#[derive(Clone, PartialEq, prost::Message)]
struct SavedVote {
    #[prost(message, optional, tag = "1")]
    promised: Option<Ballot>,
    #[prost(message, optional, tag = "2")]
    accepted_ballot: Option<Ballot>,
    #[prost(message, optional, tag = "3")]
    accepted: Option<LockState>,
}

/// Under which name a vote is saved: this, then the name of the lock.
const DISK_PREFIX: &str = "vote/";

impl Voter {
    pub fn open(context: &Context) -> Self {
        let now_ms = context.clock.now_ms();
        let saved = context.disk.load_all(DISK_PREFIX).into_iter();
        let votes = saved.map(|(name, saved)| (name, Vote { saved, lease_since_ms: now_ms }));
        Self {
            disk: context.disk.clone(),
            clock: context.clock,
            votes: Mutex::new(votes.collect()),
        }
    }

    /// Prepare(name, ballot): promise to ignore every lower ballot, and tell what was accepted.
    pub async fn prepare(&self, request: PrepareRequest) -> PrepareReply {
        let vote = match self.vote(&request.name, |vote| vote.promise(request.ballot)) {
            Ok(vote) => vote,
            Err(promised) => return PrepareReply { ok: false, promised, accepted: None },
        };
        self.remember(&request.name, &vote.saved).await;
        let age_ms = self.clock.now_ms() - vote.lease_since_ms;
        let SavedVote { promised, accepted_ballot: ballot, accepted } = vote.saved;
        let accepted = accepted.map(|state| Accepted { ballot, state: Some(state), age_ms });
        PrepareReply { ok: true, promised, accepted }
    }

    /// Accept(name, ballot, state): take over the state unless a higher ballot was promised.
    pub async fn accept(&self, request: AcceptRequest) -> AcceptReply {
        let now_ms = self.clock.now_ms();
        let accept = |vote: &mut Vote| vote.accept(request.ballot, request.state, now_ms);
        match self.vote(&request.name, accept) {
            Ok(vote) => {
                self.remember(&request.name, &vote.saved).await;
                AcceptReply { ok: true, promised: vote.saved.promised }
            }
            Err(promised) => AcceptReply { ok: false, promised },
        }
    }

    /// Changes the vote on `name`: the vote as it then is, or the ballot that stood against it.
    fn vote(
        &self,
        name: &str,
        change: impl FnOnce(&mut Vote) -> Result<(), Option<Ballot>>,
    ) -> Result<Vote, Option<Ballot>> {
        let mut votes = self.votes.lock().expect("no holder of this lock panics");
        let vote = votes.entry(name.to_owned()).or_default();
        change(vote)?;
        Ok(vote.clone())
    }

    /// Called with every vote before it is told to anybody.
    async fn remember(&self, name: &str, vote: &SavedVote) {
        let key = format!("{DISK_PREFIX}{name}");
        // GAP 5: the reply leaves when this returns. What has to be true by then?
        self.disk.save(&key, vote).await;
        // END GAP
    }
}

impl Vote {
    fn promise(&mut self, ballot: Option<Ballot>) -> Result<(), Option<Ballot>> {
        if rank(ballot.as_ref()) <= rank(self.saved.promised.as_ref()) {
            return Err(self.saved.promised.clone());
        }
        self.saved.promised = ballot;
        Ok(())
    }

    fn accept(
        &mut self,
        ballot: Option<Ballot>,
        state: Option<LockState>,
        now_ms: u64,
    ) -> Result<(), Option<Ballot>> {
        if rank(ballot.as_ref()) < rank(self.saved.promised.as_ref()) {
            return Err(self.saved.promised.clone());
        }
        // The same lease under a higher ballot is not a younger lease.
        if state.as_ref().and_then(lease_of) != self.saved.accepted.as_ref().and_then(lease_of) {
            self.lease_since_ms = now_ms;
        }
        let promised = ballot.clone();
        self.saved = SavedVote { promised, accepted_ballot: ballot, accepted: state };
        Ok(())
    }
}

/// An answer to a coordinator: agreement, or a ballot that stands against it.
pub trait Answer {
    /// Whether the voter agrees.
    fn agrees(&self) -> bool;
    /// The highest ballot that the voter has promised.
    fn promised(&self) -> Option<&Ballot>;
}

impl Answer for PrepareReply {
    fn agrees(&self) -> bool {
        self.ok
    }
    fn promised(&self) -> Option<&Ballot> {
        self.promised.as_ref()
    }
}

impl Answer for AcceptReply {
    fn agrees(&self) -> bool {
        self.ok
    }
    fn promised(&self) -> Option<&Ballot> {
        self.promised.as_ref()
    }
}

/// The order of ballots: by round, then by node; no ballot comes before all others.
pub fn rank(ballot: Option<&Ballot>) -> (u64, &str) {
    ballot.map_or((0, ""), |ballot| (ballot.round, &ballot.node))
}
