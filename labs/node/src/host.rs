//! Whose code runs: a simulation hosts many nodes on one thread, and a task belongs to one of them.

use std::{cell::RefCell, future::Future, pin::Pin, sync::Arc};

/// A task of a node.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the tasks of one start of one node.
pub trait Host: Send + Sync {
    /// Runs `task` until it ends or the node does.
    fn spawn(&self, task: Task);
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
}

/// The host of the code that runs on this thread now; `None` where a node is a process of its own,
/// and in what lies between the nodes.
pub fn current() -> Option<Arc<dyn Host>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs `code` as code of the node that `host` runs, or of nobody.
pub fn inside<T>(host: Option<Arc<dyn Host>>, code: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<dyn Host>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(host));
    code()
}
