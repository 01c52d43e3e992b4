//! One start of one node on a thread that it shares with all others: its tasks, together.

use std::{
    any::Any,
    cell::RefCell,
    mem,
    panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use node::host::{self, Host, Task};

use super::watchdog;
use crate::clean;

/// Not polling the tasks of a node is a pause, dropping them is a crash.
pub struct NodeHost {
    known: watchdog::Known,
    /// Held while the node's code runs, so by nothing that this code may call.
    tasks: Mutex<FuturesUnordered<Task>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mode: Mode,
    /// Tasks that are yet to be polled.
    arrived: Vec<Task>,
    /// Wakes it, unless its tasks are being polled.
    waker: Option<Waker>,
    /// How it fell by itself, as the rest of a sentence that starts with its name.
    fallen: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Runs,
    Paused,
    Gone,
}

impl NodeHost {
    /// A node without tasks, whose name is `name`.
    pub fn new(name: &str) -> Arc<Self> {
        let (tasks, state) = (Mutex::default(), Mutex::default());
        Arc::new(Self { known: watchdog::Known::by(name), tasks, state })
    }

    /// Runs the node until it is gone.
    pub async fn run(self: Arc<Self>) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }

    /// Ends the node as a crash does: whatever it was doing is dropped.
    pub fn crash(&self) {
        self.end();
    }

    /// Stops the node where it is.
    pub fn pause(&self) {
        self.change(Mode::Runs, Mode::Paused);
    }

    /// Lets a paused node go on.
    pub fn resume(&self) {
        self.change(Mode::Paused, Mode::Runs);
    }

    /// How the node fell by itself, if it did.
    pub fn fallen(&self) -> Option<String> {
        self.state().fallen.clone()
    }

    fn change(&self, from: Mode, to: Mode) {
        let mut state = self.state();
        if state.mode == from {
            state.mode = to;
            state.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn poll(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.state();
            match state.mode {
                Mode::Gone => return Poll::Ready(()),
                Mode::Paused => {
                    state.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                // What arrives while tasks are polled is polled with them.
                Mode::Runs => state.waker = None,
            }
        }
        let _watched = self.known.runs();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            host::inside(Some(self.clone()), || self.poll_tasks(context));
        }));
        match polled {
            Err(panic) => self.fell(describe(panic.as_ref())),
            Ok(()) => ESCAPED.take().into_iter().for_each(|how| self.fell(how)),
        }
        let mut state = self.state();
        if state.mode == Mode::Gone {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_tasks(&self, context: &mut Context<'_>) {
        let mut tasks = self.lock_tasks();
        loop {
            while tasks.poll_next_unpin(context) == Poll::Ready(Some(())) {}
            let arrived = mem::take(&mut self.state().arrived);
            if arrived.is_empty() {
                return;
            }
            tasks.extend(arrived);
        }
    }

    /// The node ends by its own fault.
    fn fell(&self, how: String) {
        self.state().fallen.get_or_insert(how);
        self.end();
    }

    fn end(&self) {
        let (arrived, waker) = {
            let mut state = self.state();
            // First of all, so that what is dropped can start nothing.
            state.mode = Mode::Gone;
            (mem::take(&mut state.arrived), state.waker.take())
        };
        let tasks = mem::take(&mut *self.lock_tasks());
        drop((arrived, tasks));
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock_tasks(&self) -> MutexGuard<'_, FuturesUnordered<Task>> {
        // A task that panicked is the node's last.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Host for NodeHost {
    fn spawn(&self, task: Task) {
        let mut state = self.state();
        if state.mode != Mode::Gone {
            state.arrived.push(task);
            state.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static ESCAPED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes a task that a node's code spawns past its host at `place`, where no crash would end it.
pub fn note_spawn(place: &Location<'_>) {
    if host::current().is_some() {
        ESCAPED.set(Some(format!(
            "started a task by tokio at {}:{}, which would outlive its node: use node::spawn",
            place.file(),
            place.line()
        )));
    }
}

/// Notes a panic in a node's code, which is told as the node's fall; `false` for any other.
pub fn note_panic(panic: &PanicHookInfo<'_>) -> bool {
    if host::current().is_none() {
        return false;
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = message(panic.payload());
    LAST_PANIC.set(clean::sentence(&format!("panicked at {place}: {message}")));
    true
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let noted = LAST_PANIC.take();
    if noted.is_empty() {
        clean::sentence(&format!("panicked: {}", message(payload)))
    } else {
        noted
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default()
}
