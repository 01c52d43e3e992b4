//! Whose code the simulation runs at the moment, for a watchdog that sees it hang.

use std::{
    cell::RefCell,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The names of all nodes there have been.
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The place among them of the node whose code runs now.
static RUNNING: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;

/// Something to be done with the name of a node.
type WithName = Box<dyn FnMut(&str)>;

thread_local! {
    static AFTER_EACH: RefCell<Option<WithName>> = const { RefCell::new(None) };
}

/// What is done, from now on and on this thread, each time that a node's code has run.
pub fn after_each(what: Option<WithName>) {
    AFTER_EACH.set(what);
}

/// A node, as the watchdog knows it.
#[derive(Clone, Copy)]
pub struct Known(usize);

/// While it lives, the code of one node runs.
pub struct Watched(());

impl Known {
    /// The node of this name.
    pub fn by(name: &str) -> Self {
        let mut names = NAMES.lock().expect("no holder of this lock panics");
        let place = names.iter().position(|known| known == name);
        Self(place.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        }))
    }

    /// Notes that its code runs now.
    pub fn runs(self) -> Watched {
        RUNNING.store(self.0, Ordering::Relaxed);
        Watched(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        AFTER_EACH.with_borrow_mut(|after_each| {
            if let Some(after_each) = after_each
                && let Some(node) = running()
            {
                after_each(&node);
            }
        });
        RUNNING.store(NOBODY, Ordering::Relaxed);
    }
}

/// The name of the node whose code runs now, if it is one's.
pub fn running() -> Option<String> {
    let names = NAMES.lock().expect("no holder of this lock panics");
    names.get(RUNNING.load(Ordering::Relaxed)).cloned()
}
