//! The fabric: every link between clients and nodes, what is cut, and which message sets off what.

pub mod decode;
pub mod fault;
mod flight;
mod link;
pub mod record;
pub mod schedule;

pub use link::Link;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::{
    decode::Decoder,
    fault::{Aim, Entry, Fault, Phase, Sighting, Struck, Trigger},
    record::{Message, Recorder},
};

/// Microseconds since the start of a run: the one clock of history, record and faults; cheap to
/// clone. It stands at 0 until the nodes are ready and the run starts.
#[derive(Clone, Debug, Default)]
pub struct RunClock(Arc<OnceLock<Instant>>);

impl RunClock {
    /// Starts the clock, unless it runs already.
    pub fn start(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// The time, in microseconds.
    pub fn now_us(&self) -> u64 {
        let elapsed = self.0.get().map_or(Duration::ZERO, Instant::elapsed);
        u64::try_from(elapsed.as_micros()).expect("no run lasts 500,000 years")
    }

    /// The moment `at_us` microseconds after the start, which it starts if need be.
    pub fn instant(&self, at_us: u64) -> Instant {
        *self.0.get_or_init(Instant::now) + Duration::from_micros(at_us)
    }
}

/// All links of one run; cheap to clone.
#[derive(Clone)]
pub struct Fabric(Arc<Inner>);

struct Inner {
    clock: RunClock,
    decoder: Decoder,
    recorder: Recorder,
    strikes: mpsc::UnboundedSender<Strike>,
    next_id: AtomicU64,
    /// Whether any fault waits for a message: most messages need to know no more.
    armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each cut: the nodes on one side of it.
    cuts: Vec<Vec<String>>,
    waiting: Vec<Waiting>,
    struck: Vec<Struck>,
}

/// A fault that waits for its message.
struct Waiting {
    entry: usize,
    aim: Aim,
    nth: u32,
    fault: Fault,
}

/// A message has set off a fault on nodes or links; it is held until `confirmed`.
#[derive(Debug)]
pub struct Strike {
    /// The fault's place in the schedule.
    pub entry: usize,
    /// The message.
    pub message: Sighting,
    /// To be told when the fault has happened.
    pub confirmed: oneshot::Sender<()>,
}

/// What is to happen to one message at one moment of its life.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub delay: Duration,
    pub drop: bool,
    pub duplicate: Option<Duration>,
}

impl Fabric {
    /// A fabric without links. Messages are recorded by `recorder`; the faults on nodes and links
    /// that they set off come out of the returned queue.
    pub fn new(
        clock: RunClock,
        decoder: Decoder,
        recorder: Recorder,
    ) -> (Self, mpsc::UnboundedReceiver<Strike>) {
        let (strikes, queue) = mpsc::unbounded_channel();
        let inner = Inner {
            clock,
            decoder,
            recorder,
            strikes,
            next_id: AtomicU64::new(1),
            armed: AtomicBool::new(false),
            state: Mutex::default(),
        };
        (Self(Arc::new(inner)), queue)
    }

    /// The run's clock.
    pub fn clock(&self) -> &RunClock {
        &self.0.clock
    }

    /// From now on, messages set off those faults of `schedule` that wait for one.
    pub fn arm(&self, schedule: &[Entry]) {
        let wait = |(entry, Entry { when, fault, .. }): (usize, &Entry)| match when {
            Trigger::AtMs(_) => None,
            Trigger::Message { aim, nth } => {
                Some(Waiting { entry, aim: aim.clone(), nth: *nth, fault: fault.clone() })
            }
        };
        let mut state = self.state();
        state.waiting = schedule.iter().enumerate().filter_map(wait).collect();
        self.0.armed.store(!state.waiting.is_empty(), Ordering::Relaxed);
    }

    /// From now on, no message sets off anything.
    pub fn disarm(&self) {
        self.arm(&[]);
    }

    /// Cuts `nodes` off from the other nodes, both ways. Clients still reach either side.
    pub fn cut(&self, nodes: &[String]) {
        self.state().cuts.push(nodes.to_vec());
    }

    /// Undoes the cut of the same `nodes`.
    pub fn heal(&self, nodes: &[String]) {
        let mut state = self.state();
        if let Some(index) = state.cuts.iter().position(|cut| cut == nodes) {
            state.cuts.remove(index);
        }
    }

    /// Hands out the faults on messages that have struck so far.
    pub fn take_struck(&self) -> Vec<Struck> {
        std::mem::take(&mut self.state().struck)
    }

    pub(crate) fn is_cut(&self, from: &str, to: &str) -> bool {
        let holds = |side: &[String], name: &str| side.iter().any(|node| node == name);
        self.state().cuts.iter().any(|side| holds(side, from) != holds(side, to))
    }

    /// Whether any fault waits for a message.
    pub(crate) fn is_armed(&self) -> bool {
        self.0.armed.load(Ordering::Relaxed)
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn record(&self, message: Message) {
        self.0.recorder.record(message);
    }

    /// Sets off whatever waits for this message, sees it confirmed, and says what is to happen to
    /// the message itself. `reply` is its gRPC frame in [`Phase::Reply`].
    pub(crate) async fn on_message(&self, message: &Sighting, path: &str, reply: &[u8]) -> Plan {
        let mut plan = Plan::default();
        for Waiting { entry, fault, .. } in self.set_off(message, path, reply) {
            match fault {
                Fault::DropRequest | Fault::DropReply => plan.drop = true,
                Fault::Delay { ms } => plan.delay += Duration::from_millis(ms),
                Fault::Duplicate { after_ms } => {
                    plan.duplicate = Some(Duration::from_millis(after_ms));
                }
                Fault::Kill { .. } | Fault::Cut { .. } => {
                    self.strike(entry, message).await;
                    continue;
                }
            }
            let at_us = self.0.clock.now_us();
            let message = Some(message.clone());
            let struck = Struck { entry, fault, at_us, until_us: at_us, message };
            self.state().struck.push(struck);
        }
        plan
    }

    /// Counts the message wherever it fits, and takes out what it sets off.
    fn set_off(&self, message: &Sighting, path: &str, reply: &[u8]) -> Vec<Waiting> {
        let mut state = self.state();
        let mut set_off = Vec::new();
        state.waiting.retain_mut(|waiting| {
            if !self.fits(&waiting.aim, message, path, reply) {
                return true;
            }
            waiting.nth -= 1;
            if waiting.nth > 0 {
                return true;
            }
            let Waiting { entry, aim, nth, fault } = waiting;
            let (aim, fault) = (aim.clone(), fault.clone());
            set_off.push(Waiting { entry: *entry, aim, nth: *nth, fault });
            false
        });
        set_off
    }

    fn fits(&self, aim: &Aim, message: &Sighting, path: &str, reply: &[u8]) -> bool {
        let names = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == name)
        };
        aim.method == message.method
            && aim.phase == message.phase
            && names(&aim.from, &message.from)
            && names(&aim.to, &message.to)
            && aim.reply.as_ref().is_none_or(|field| {
                message.phase == Phase::Reply
                    && self
                        .0
                        .decoder
                        .reply(path, reply)
                        .is_some_and(|decoded| decoded.has_field_by_name(field))
            })
    }

    async fn strike(&self, entry: usize, message: &Sighting) {
        let (confirmed, confirmation) = oneshot::channel();
        let strike = Strike { entry, message: message.clone(), confirmed };
        if self.0.strikes.send(strike).is_ok() {
            // An error means that the run is over, and with it the fault.
            let _ = confirmation.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }
}
