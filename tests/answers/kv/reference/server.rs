//! The loop around the handlers: it feeds them what arrives, saves what they change, and lets out
//! what they say.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use node::{Clock, Context};
use proto::kv::{Command, reply::Outcome};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::{
    raft::{
        Raft, Ticket, Unsaved,
        message::{FromPeer, ToPeer},
    },
    saves::Saves,
    storage::Storage,
    transport::Transport,
};

/// How many inputs are handled before what they change is saved.
const BATCH: usize = 256;

/// Something that happens to a server.
pub enum Input {
    /// A peer asks.
    Asked { request: ToPeer, reply: oneshot::Sender<FromPeer> },
    /// A peer has answered, or has not in time.
    Replied { peer: String, request: ToPeer, reply: Option<FromPeer> },
    /// A client calls.
    Called { call: Call, outcome: oneshot::Sender<Outcome> },
    /// The disk has everything up to this save.
    Saved(u64),
}

/// What a client wants.
pub enum Call {
    Read(String),
    Write(Command),
}

/// A running server, for those who bring it messages; cheap to clone.
#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Input>);

impl Handle {
    /// Asks for a client; `None` if the server is going down.
    pub async fn ask(&self, call: Call) -> Option<Outcome> {
        let (outcome, answered) = oneshot::channel();
        self.0.send(Input::Called { call, outcome }).ok()?;
        answered.await.ok()
    }

    /// Hands over a peer's request; `None` if the server is going down.
    pub async fn tell(&self, request: ToPeer) -> Option<FromPeer> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Input::Asked { request, reply }).ok()?;
        answered.await.ok()
    }
}

/// Starts the server of this node.
pub fn start(context: Context) -> Handle {
    let Context { id, peers, disk, clock } = context;
    let (sender, inbox) = mpsc::unbounded_channel();
    let (storage, hard_state, log) = Storage::open(disk);
    let saves = Saves::new(log.last_index());
    let names = peers.iter().map(|(name, _)| name.clone()).collect();
    let replies = sender.clone();
    let on_reply = move |peer, request, reply| {
        // Nobody listens any more when the node goes down.
        let _ = replies.send(Input::Replied { peer, request, reply });
    };
    let raft = Raft::new(id, names, hard_state, log, clock.now_ms());
    let server = Server {
        raft: raft.unwrap_or_else(|error| panic!("the snapshot is damaged: {error}")),
        storage,
        transport: Transport::new(peers, on_reply),
        clock,
        inbox: sender.clone(),
        callers: BTreeMap::new(),
        next_ticket: 0,
        promises: VecDeque::new(),
        saves,
    };
    node::spawn(server.run(inbox));
    Handle(sender)
}

struct Server {
    raft: Raft,
    storage: Storage,
    transport: Transport,
    clock: Clock,
    inbox: mpsc::UnboundedSender<Input>,
    callers: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
    next_ticket: Ticket,
    /// What is yet to be said, and after which save at the earliest.
    promises: VecDeque<(u64, Promise)>,
    saves: Saves,
}

/// Something that must still be true after a crash once it has been said.
enum Promise {
    Reply(FromPeer, oneshot::Sender<FromPeer>),
    Message(String, ToPeer),
}

impl Server {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Input>) {
        let mut inputs = Vec::with_capacity(BATCH);
        loop {
            let wait_ms = self.raft.due_ms().saturating_sub(self.clock.now_ms());
            tokio::select! {
                biased;
                arrived = inbox.recv_many(&mut inputs, BATCH) => if arrived == 0 { return },
                () = sleep(Duration::from_millis(wait_ms)) => {}
            }
            for input in inputs.drain(..) {
                self.handle(input);
            }
            let now_ms = self.clock.now_ms();
            if now_ms >= self.raft.due_ms() {
                self.raft.tick(now_ms);
            }
            self.release();
            self.settle();
            self.release();
        }
    }

    fn handle(&mut self, input: Input) {
        let now_ms = self.clock.now_ms();
        match input {
            Input::Asked { request, reply } => {
                let answer = self.raft.on_request(now_ms, request);
                // It may rest on what this very input has changed.
                self.promises.push_back((self.saves.begun() + 1, Promise::Reply(answer, reply)));
            }
            Input::Replied { peer, request, reply } => {
                self.raft.on_reply(now_ms, &peer, &request, reply);
            }
            Input::Called { call, outcome } => {
                self.next_ticket += 1;
                self.callers.insert(self.next_ticket, outcome);
                match call {
                    Call::Read(key) => self.raft.on_read(now_ms, key, self.next_ticket),
                    Call::Write(command) => self.raft.on_write(now_ms, command, self.next_ticket),
                }
            }
            Input::Saved(save) => self.saves.finish(save),
        }
    }

    /// Saves what has changed and lets out what may go at once.
    fn settle(&mut self) {
        let effects = self.raft.settle();
        if effects.unsaved == Unsaved::default() {
            // What was said rests on earlier saves only.
            for (after, _) in &mut self.promises {
                *after = (*after).min(self.saves.begun());
            }
        } else {
            self.save(&effects.unsaved);
        }
        for (peer, message) in effects.messages {
            if message.is_promise() {
                self.promises.push_back((self.saves.begun(), Promise::Message(peer, message)));
            } else {
                self.transport.send(peer, message);
            }
        }
        for (ticket, outcome) in effects.outcomes {
            if let Some(caller) = self.callers.remove(&ticket) {
                // The client may have stopped waiting.
                let _ = caller.send(outcome);
            }
        }
    }

    fn save(&mut self, unsaved: &Unsaved) {
        let save = self.saves.begin(unsaved.log_from, self.raft.log().last_index());
        let saving = self.storage.save(&self.raft, unsaved);
        let inbox = self.inbox.clone();
        node::spawn(async move {
            saving.await;
            // Nobody listens any more when the node goes down.
            let _ = inbox.send(Input::Saved(save));
        });
    }

    /// Says what may be said by now.
    fn release(&mut self) {
        // GAP 2: after a crash a node knows what its disk has. What has to wait for that?
        let ready = self.promises.partition_point(|(save, _)| *save <= self.saves.done());
        for (_, promise) in self.promises.drain(..ready).collect::<Vec<_>>() {
            self.say(promise);
        }
        self.raft.on_saved(self.saves.log_index());
        // END GAP
    }

    fn say(&self, promise: Promise) {
        match promise {
            // Whoever asked may be gone.
            Promise::Reply(answer, reply) => drop(reply.send(answer)),
            Promise::Message(peer, message) => self.transport.send(peer, message),
        }
    }
}
