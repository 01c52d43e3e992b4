//! Places on the machine: as many clusters run side by side as there are.

use std::sync::{Condvar, Mutex};

/// So many places. A run needs one while its nodes live, and none while it is judged.
pub struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Somebody who has a place or has none; free again when dropped.
pub struct Place<'a> {
    places: &'a Places,
    taken: bool,
}

impl Places {
    /// So many, all free.
    pub fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// For somebody who has none yet.
    pub fn place(&self) -> Place<'_> {
        Place { places: self, taken: false }
    }
}

impl Place<'_> {
    /// Waits until one is free and takes it, unless it has one.
    pub fn take(&mut self) {
        if !self.taken {
            let free = self.places.free.lock().expect("no holder of this lock panics");
            let none_is_free = |free: &mut usize| *free == 0;
            let mut free = self.places.freed.wait_while(free, none_is_free).expect("as above");
            *free -= 1;
            self.taken = true;
        }
    }

    /// Lets somebody else have it.
    pub fn free(&mut self) {
        if self.taken {
            *self.places.free.lock().expect("no holder of this lock panics") += 1;
            self.places.freed.notify_one();
            self.taken = false;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.free();
    }
}
