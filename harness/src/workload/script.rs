//! When each client does what: as it comes, or as it was in an earlier run.

use std::sync::{Arc, Mutex};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;

use super::Actor;
use crate::fabric::RunClock;

/// One thing that a client does from beginning to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// When it begins, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// Which client's.
    pub client: u32,
    /// Which of this client's, from 0: its random choices hang on it, whatever came before.
    pub index: u32,
}

/// The turns of all clients of a run; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Those to be taken, and no others; without them each client takes one after the other.
    fixed: Option<Arc<Vec<Turn>>>,
    taken: Arc<Mutex<Vec<Turn>>>,
}

impl Script {
    /// These turns, each at its time or as soon as the client has ended the one before.
    pub fn fixed(mut turns: Vec<Turn>) -> Self {
        turns.sort_unstable();
        Self { fixed: Some(Arc::new(turns)), taken: Arc::default() }
    }

    /// Whether the clients do only what they are told.
    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The turns taken so far, in the order in which they began.
    pub fn taken(&self) -> Vec<Turn> {
        self.taken.lock().expect("no holder of this lock panics").clone()
    }

    /// The life of the client `client`.
    pub async fn live(self, client: u32, seed: u64, clock: RunClock, mut actor: Box<dyn Actor>) {
        match self.fixed.clone() {
            Some(turns) => {
                for turn in turns.iter().filter(|turn| turn.client == client) {
                    sleep_until(clock.instant(turn.at_ms * 1000)).await;
                    self.take(client, turn.index, seed, &clock, actor.as_mut()).await;
                }
            }
            None => {
                for index in 0.. {
                    self.take(client, index, seed, &clock, actor.as_mut()).await;
                }
            }
        }
    }

    async fn take(
        &self,
        client: u32,
        index: u32,
        seed: u64,
        clock: &RunClock,
        actor: &mut dyn Actor,
    ) {
        let turn = Turn { at_ms: clock.now_us() / 1000, client, index };
        self.taken.lock().expect("no holder of this lock panics").push(turn);
        let own_seed = seed << 32 | u64::from(client) << 20 | u64::from(index);
        actor.turn(StdRng::seed_from_u64(own_seed)).await;
    }
}
