//! A value that only the newest holder of the lock may write, kept by every node.
//!
//! A majority of replicas makes a write; a read takes the newest value of a majority and writes
//! it back before it tells (Attiya, Bar-Noy & Dolev 1995, section 3).

use std::{collections::HashMap, sync::Mutex, time::Duration};

use node::{Context, Disk, Peers};
use proto::lock::{
    Fenced, LoadReply, LoadRequest, Ok as Done, StoreReply, StoreRequest, Unavailable, Written,
    peer_client::PeerClient, read_reply, write_reply,
};

/// How long one peer may take to answer.
const PEER_DEADLINE: Duration = Duration::from_millis(200);
/// Under which name a value is saved: this, then the name of the lock.
const DISK_PREFIX: &str = "guard/";

/// This node's replica of every guarded value, and the way to the others.
pub struct Guard {
    replica: std::sync::Arc<Replica>,
    peers: Peers<PeerClient<node::Channel>>,
}

struct Replica {
    disk: Disk,
    values: Mutex<HashMap<String, Written>>,
}

impl Guard {
    pub fn open(context: &Context) -> Self {
        let disk = context.disk.clone();
        let values = Mutex::new(disk.load_all(DISK_PREFIX).into_iter().collect());
        let peers = Peers::new(context, PEER_DEADLINE, PeerClient::new);
        Self { replica: std::sync::Arc::new(Replica { disk, values }), peers }
    }

    /// Guard.Write: done when a majority has stored it.
    pub async fn write(&self, name: String, written: Written) -> write_reply::Outcome {
        let replies = self.store_at_majority(name, written, |reply| reply.stored).await;
        match replies {
            Ok(()) => write_reply::Outcome::Ok(Done {}),
            Err(replies) if replies.iter().any(|reply| !reply.stored) => {
                write_reply::Outcome::Fenced(Fenced {})
            }
            Err(_) => write_reply::Outcome::Unavailable(Unavailable {}),
        }
    }

    /// Guard.Read: the newest value, once a majority has it, or a newer one.
    pub async fn read(&self, name: String) -> read_reply::Outcome {
        let unavailable = read_reply::Outcome::Unavailable(Unavailable {});
        let Some(newest) = self.load_newest(&name).await else { return unavailable };
        match self.store_at_majority(name, newest.clone(), |_| true).await {
            Ok(()) => read_reply::Outcome::Written(newest),
            Err(_) => unavailable,
        }
    }

    /// Stores at every replica until a majority's replies are `enough`; else what they replied.
    async fn store_at_majority(
        &self,
        name: String,
        written: Written,
        enough: impl Fn(&StoreReply) -> bool,
    ) -> Result<(), Vec<StoreReply>> {
        let request = StoreRequest { name, written: Some(written) };
        let (replica, own) = (self.replica.clone(), request.clone());
        let mut answers = self.peers.ask_all(async move { replica.store(own).await }, |peer| {
            let (mut peer, request) = (peer, request.clone());
            async move { peer.store(request).await }
        });
        let mut replies = Vec::new();
        while let Some((_, reply)) = answers.next().await {
            replies.push(reply);
            if replies.iter().filter(|reply| enough(reply)).count() >= self.peers.majority() {
                return Ok(());
            }
        }
        Err(replies)
    }

    async fn load_newest(&self, name: &str) -> Option<Written> {
        let request = LoadRequest { name: name.to_owned() };
        let own = self.replica.load(name);
        let mut answers = self.peers.ask_all(async move { own }, |peer| {
            let (mut peer, request) = (peer, request.clone());
            async move { peer.load(request).await }
        });
        let mut loaded = Vec::new();
        while let Some((_, answer)) = answers.next().await {
            loaded.push(answer.written.unwrap_or_default());
            if loaded.len() >= self.peers.majority() {
                return loaded.into_iter().max_by_key(|written| (written.token, written.seq));
            }
        }
        None
    }

    /// Store(name, token, seq, value) at this node's replica.
    pub async fn store(&self, request: StoreRequest) -> StoreReply {
        self.replica.store(request).await
    }

    /// Load(name) at this node's replica.
    pub fn load(&self, request: &LoadRequest) -> LoadReply {
        self.replica.load(&request.name)
    }
}

impl Replica {
    /// Checks, keeps and saves in one step; refuses what is older than what it holds.
    async fn store(&self, request: StoreRequest) -> StoreReply {
        let new = request.written.unwrap_or_default();
        {
            let mut values = self.values.lock().expect("no holder of this lock panics");
            let current = values.entry(request.name.clone()).or_default();
            if !admits(current, &new) {
                return StoreReply { stored: false };
            }
            current.clone_from(&new);
        }
        self.disk.save(&format!("{DISK_PREFIX}{}", request.name), &new).await;
        StoreReply { stored: true }
    }

    fn load(&self, name: &str) -> LoadReply {
        let values = self.values.lock().expect("no holder of this lock panics");
        LoadReply { written: values.get(name).cloned() }
    }
}

/// Whether a replica that holds `current` takes `new`.
fn admits(current: &Written, new: &Written) -> bool {
    // GAP 6: a client that slept past its lease does not know it. Who tells it, and how?
    (new.token, new.seq) >= (current.token, current.seq)
    // END GAP
}
