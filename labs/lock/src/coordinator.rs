//! How a change to a lock is agreed on: one CASPaxos register per lock (Rystsov 2018, section 2.2).
//!
//! Any node coordinates any request: it prepares at a majority, changes the newest state it heard
//! of, has the change accepted by a majority, and only then answers. An answer that changes nothing
//! needs no second round if all of the first majority accepted the same last.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use node::{Answers, Context, Peers};
use proto::lock::{
    AcceptReply, AcceptRequest, Accepted, Ballot, LockState, PrepareReply, PrepareRequest,
    peer_client::PeerClient,
};
use tokio::time::Instant;

use crate::{
    lease,
    voter::{Answer, Voter, rank},
};

/// How long one peer may take to answer.
const PEER_DEADLINE: Duration = Duration::from_millis(200);
/// How often a change is tried against other coordinators before it is given up.
const ATTEMPTS: u32 = 6;
/// The longest wait before the first repeated attempt, unless attempts take longer than that
/// themselves; it grows with each.
const BACKOFF: Duration = Duration::from_millis(8);

/// Gets a majority to agree on changes.
pub struct Coordinator {
    id: String,
    voter: Arc<Voter>,
    peers: Peers<PeerClient<node::Channel>>,
    /// The highest round this node has used or heard of.
    round: Mutex<u64>,
}

/// Why a change was not made.
pub enum Refused<R> {
    /// The rule refused it.
    ByRule(R),
    /// No majority agreed in time: the change may still happen.
    NoMajority,
}

/// How a round of questions ended.
enum Round<A> {
    Won(Vec<A>),
    /// Another coordinator is ahead.
    Overtaken,
    NoMajority,
}

impl Coordinator {
    pub fn new(context: &Context, voter: Arc<Voter>) -> Self {
        let peers = Peers::new(context, PEER_DEADLINE, PeerClient::new);
        Self { id: context.id.clone(), voter, peers, round: Mutex::new(0) }
    }

    /// Applies `rule` to the lock `name`, given whether its holder counts as expired.
    pub async fn change<T, R>(
        &self,
        name: &str,
        rule: impl Fn(&mut LockState, bool) -> Result<T, R>,
    ) -> Result<T, Refused<R>> {
        let mut proposed: Option<(LockState, Result<T, R>)> = None;
        for attempt in 1..=ATTEMPTS {
            let (ballot, began) = (self.next_ballot(), Instant::now());
            match self.prepare(name, &ballot).await {
                Round::Won(promises) => {
                    let settled = is_settled(&promises);
                    let voters: Vec<_> =
                        promises.into_iter().filter_map(|it| it.accepted).collect();
                    let lock = newest(&voters);
                    // A change that was overtaken may have been taken over all the same.
                    let change = match proposed.take() {
                        Some(change) if change.0 == lock => change,
                        _ => {
                            let mut changed = lock.clone();
                            let answer = rule(&mut changed, lease::is_expired(&lock, &voters));
                            (changed, answer)
                        }
                    };
                    // A majority accepted it already. Another round would only give those who poll
                    // for the lock a chance to overtake it.
                    if change.0 == lock && settled {
                        return change.1.map_err(Refused::ByRule);
                    }
                    match self.accept(name, &ballot, &change.0).await {
                        Round::Won(_) => return change.1.map_err(Refused::ByRule),
                        Round::Overtaken => proposed = Some(change),
                        Round::NoMajority => return Err(Refused::NoMajority),
                    }
                }
                Round::Overtaken => {}
                Round::NoMajority => return Err(Refused::NoMajority),
            }
            back_off(attempt, began.elapsed()).await;
        }
        Err(Refused::NoMajority)
    }

    async fn prepare(&self, name: &str, ballot: &Ballot) -> Round<PrepareReply> {
        let request = PrepareRequest { name: name.to_owned(), ballot: Some(ballot.clone()) };
        let (voter, own) = (self.voter.clone(), request.clone());
        let answers = self.peers.ask_all(async move { voter.prepare(own).await }, move |peer| {
            let (mut peer, request) = (peer, request.clone());
            async move { peer.prepare(request).await }
        });
        self.decide(answers).await
    }

    async fn accept(&self, name: &str, ballot: &Ballot, lock: &LockState) -> Round<AcceptReply> {
        let (ballot_sent, state) = (Some(ballot.clone()), Some(lock.clone()));
        let request = AcceptRequest { name: name.to_owned(), ballot: ballot_sent, state };
        let (voter, own) = (self.voter.clone(), request.clone());
        let answers = self.peers.ask_all(async move { voter.accept(own).await }, move |peer| {
            let (mut peer, request) = (peer, request.clone());
            async move { peer.accept(request).await }
        });
        self.decide(answers).await
    }

    /// Waits until a round is decided: each answer agrees, or names a ballot that is ahead.
    async fn decide<A: Answer>(&self, mut answers: Answers<A>) -> Round<A> {
        let (mut agreed, mut objections) = (Vec::new(), 0);
        // GAP 4: how many must agree, and what of those who say nothing?
        while let Some((_, answer)) = answers.next().await {
            if answer.agrees() {
                agreed.push(answer);
            } else {
                self.heard_of(answer.promised());
                objections += 1;
            }
        }
        let won = objections == 0;
        // END GAP
        match (won, objections) {
            (true, _) => Round::Won(agreed),
            (false, 0) => Round::NoMajority,
            (false, _) => Round::Overtaken,
        }
    }

    fn next_ballot(&self) -> Ballot {
        let mut round = self.round.lock().expect("no holder of this lock panics");
        *round += 1;
        Ballot { round: *round, node: self.id.clone() }
    }

    fn heard_of(&self, ballot: Option<&Ballot>) {
        let mut round = self.round.lock().expect("no holder of this lock panics");
        *round = rank(ballot).0.max(*round);
    }
}

/// The state that a change starts from, out of what the voters remember.
fn newest(voters: &[Accepted]) -> LockState {
    // GAP 1: the voters may remember different states. Which one counts?
    let newest = voters.first();
    // END GAP
    newest.and_then(|voter| voter.state.clone()).unwrap_or_default()
}

/// Whether all of the majority that promised accepted the same last, so that it is what was agreed
/// on. Otherwise it may come to nothing, or be what somebody is about to be told: two who are each
/// refused for the other's sake would leave a lock that nobody holds and nobody gets.
fn is_settled(promises: &[PrepareReply]) -> bool {
    let ballot = |it: &PrepareReply| it.accepted.as_ref().and_then(|last| last.ballot.clone());
    promises.windows(2).all(|pair| ballot(&pair[0]) == ballot(&pair[1]))
}

/// Two coordinators that keep overtaking each other part when they wait for different times, if
/// those differ by more than an attempt takes.
async fn back_off(attempt: u32, took: Duration) {
    let longest = took.max(BACKOFF) * attempt;
    tokio::time::sleep(longest.mul_f64(rand::random_range(0.0..1.0))).await;
}
