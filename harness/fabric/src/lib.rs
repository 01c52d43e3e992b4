//! The fabric: every link between clients and nodes, what is cut, and which message sets off what.

mod clock;
mod connection;
pub mod decode;
pub mod fault;
mod flight;
pub mod lines;
mod link;
pub mod record;
pub mod schedule;
mod trigger;
pub mod weather;

pub use clock::RunClock;
pub use connection::Connection;
pub use flight::Reply;
pub use link::{Delivery, Exit, Link, whole};

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use node::host::{Task, inside};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use self::{
    decode::Decoder,
    fault::{Entry, Fault, Mode, Sighting, Struck},
    record::{Message, Recorder},
    trigger::{Seen, Triggers},
};

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
    /// Told of every cut and every heal.
    cuts_changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cuts in force, each by the key that heals it.
    cuts: BTreeMap<usize, Cut>,
    triggers: Triggers,
    struck: Vec<Struck>,
}

/// Directed pairs, from and to, between which no message passes.
struct Cut {
    pairs: Vec<(String, String)>,
    mode: Mode,
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
    pub refuse: bool,
    pub holds: Vec<Hold>,
    pub duplicates: Vec<Hold>,
}

/// A message, or its copy, that waits.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Ends when it may go on.
    gone: Option<oneshot::Receiver<()>>,
    at_most: Duration,
    /// And then waits for so much longer.
    after: Duration,
    /// The fault's place in the state's list.
    struck: usize,
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
            cuts_changed: Notify::new(),
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
        let triggers = Triggers::new(schedule);
        self.0.armed.store(!triggers.is_empty(), Ordering::Relaxed);
        self.state().triggers = triggers;
    }

    /// From now on, no message sets off anything, and what is held goes on.
    pub fn disarm(&self) {
        self.arm(&[]);
    }

    /// Blocks these directed pairs (from, to) until the cut of this `key` is healed. Clients still
    /// reach every node.
    pub fn cut(&self, key: usize, pairs: Vec<(String, String)>, mode: Mode) {
        self.state().cuts.insert(key, Cut { pairs, mode });
        self.0.cuts_changed.notify_waiters();
    }

    /// Undoes the cut of this `key`.
    pub fn heal(&self, key: usize) {
        self.state().cuts.remove(&key);
        self.0.cuts_changed.notify_waiters();
    }

    /// Hands out the faults on messages that have struck so far.
    pub fn take_struck(&self) -> Vec<Struck> {
        std::mem::take(&mut self.state().struck)
    }

    /// How the way between two nodes is blocked at the moment, if it is.
    pub(crate) fn blocked(&self, from: &str, to: &str) -> Option<Mode> {
        let state = self.state();
        let is_it = |(one, other): &(String, String)| one == from && other == to;
        let cuts = state.cuts.values().filter(|cut| cut.pairs.iter().any(is_it));
        // Of several cuts, one that loses messages leaves nothing to hold.
        cuts.map(|cut| cut.mode).min_by_key(|mode| *mode == Mode::Hold)
    }

    /// Waits until a cut is made or healed after `look` has returned `None`; then looks again.
    pub(crate) async fn wait_for_cuts<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            // It hears of what happens from here on, and not only once it is awaited.
            let change = self.0.cuts_changed.notified();
            if let Some(found) = look() {
                return found;
            }
            change.await;
        }
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
    /// the message itself.
    pub(crate) async fn on_message(&self, seen: &Seen<'_>) -> Plan {
        let mut plan = Plan::default();
        let set_off = self.state().triggers.see(seen, &self.0.decoder);
        for (entry, fault) in set_off {
            match &fault {
                Fault::Kill { .. } | Fault::Pause { .. } | Fault::Cut { .. } => {
                    self.strike(entry, seen.sighting()).await;
                }
                _ => self.strike_message(&mut plan, entry, fault, seen),
            }
        }
        plan
    }

    fn strike_message(&self, plan: &mut Plan, entry: usize, fault: Fault, seen: &Seen<'_>) {
        let mut state = self.state();
        let struck = state.struck.len();
        match &fault {
            Fault::DropRequest | Fault::DropReply => plan.drop = true,
            Fault::Refuse => plan.refuse = true,
            Fault::Delay { ms } => plan.delay += Duration::from_millis(*ms),
            Fault::Duplicate { after_ms, until } => {
                let hold = |aim| state.triggers.hold(Some(aim), seen, &self.0.decoder);
                let gone = until.as_ref().map(hold);
                let after = Duration::from_millis(*after_ms);
                plan.duplicates.push(Hold { gone, at_most: Duration::MAX, after, struck });
            }
            Fault::Hold { at_most_ms, until } => {
                let gone = state.triggers.hold(until.as_ref(), seen, &self.0.decoder);
                let at_most = Duration::from_millis(*at_most_ms);
                plan.holds.push(Hold { gone: Some(gone), at_most, after: Duration::ZERO, struck });
            }
            Fault::Kill { .. } | Fault::Pause { .. } | Fault::Cut { .. } => {
                unreachable!("the driver strikes at nodes and links")
            }
        }
        let at_us = self.0.clock.now_us();
        let until_us = at_us + u64::try_from(plan.delay.as_micros()).expect("delays are short");
        let message = Some(seen.sighting());
        state.struck.push(Struck { entry, fault, at_us, until_us, message });
    }

    /// Waits as long as `hold` says, and notes when it was over.
    pub(crate) async fn wait(&self, hold: Hold) {
        if let Some(gone) = hold.gone {
            // Gone, or past its time: it goes on either way.
            let _ = timeout(hold.at_most, gone).await;
        }
        if !hold.after.is_zero() {
            tokio::time::sleep(hold.after).await;
        }
        let now_us = self.0.clock.now_us();
        let mut state = self.state();
        let State { struck, triggers, .. } = &mut *state;
        if let Some(struck) = struck.get_mut(hold.struck) {
            struck.until_us = now_us;
            if let Fault::Hold { .. } = struck.fault {
                triggers.went_on(struck.entry);
            }
        }
    }

    async fn strike(&self, entry: usize, message: Sighting) {
        let (confirmed, confirmation) = oneshot::channel();
        let strike = Strike { entry, message, confirmed };
        if self.0.strikes.send(strike).is_ok() {
            // An error means that the run is over, and with it the fault.
            let _ = confirmation.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }
}

/// Runs what belongs to no node: a message under way outlives the node that sent it.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    // Boxed first: tokio moves what it is given about ten times.
    let task: Task = Box::pin(task);
    inside(None, || tokio::spawn(task));
}
