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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn more_never_have_a_place_than_there_are_and_in_the_end_all_have_had_one() {
        let places = Places::new(2);
        let (now, most, in_all) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut place = places.place();
                    for _ in 0..3 {
                        place.take();
                        place.take();
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::sleep(Duration::from_millis(2));
                        now.fetch_sub(1, SeqCst);
                        in_all.fetch_add(1, SeqCst);
                        // Whoever is dropped with a place gives it back as well.
                        if in_all.load(SeqCst) % 2 == 0 {
                            place.free();
                        }
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), in_all.into_inner()), (2, 24));
    }
}
