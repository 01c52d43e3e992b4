//! Whose code the simulation runs at the moment, for a watchdog that sees it hang.

use std::sync::Mutex;

/// The node whose code runs now.
static RUNNING: Mutex<Option<String>> = Mutex::new(None);

/// While it lives, the code of one node runs.
pub struct Watched(());

/// Notes that the code of `node` runs now.
pub fn runs(node: &str) -> Watched {
    let mut running = RUNNING.lock().expect("no holder of this lock panics");
    match running.as_mut() {
        Some(name) => node.clone_into(name),
        None => *running = Some(node.to_owned()),
    }
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(name) = RUNNING.lock().expect("no holder of this lock panics").as_mut() {
            name.clear();
        }
    }
}

/// The node whose code runs now, if it is one's.
pub fn running() -> Option<String> {
    let running = RUNNING.lock().expect("no holder of this lock panics");
    running.clone().filter(|name| !name.is_empty())
}
