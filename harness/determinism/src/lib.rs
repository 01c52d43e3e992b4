//! Replaces the clock and the randomness of the operating system on one thread, so that code which
//! asks for either, in whatever library, is repeatable. Whoever links this crate gets the
//! replacements, and threads that have not called [`enter`] notice nothing. It gets the allocator
//! of simulations, too.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Here and not in the program itself: every crate has its calls inlined, and would be compiled
/// again with each edit of a lab.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the virtual clocks show when a thread enters, in seconds since their own beginning.
const MONOTONIC_START_S: u64 = 1_000_000;
const REALTIME_START_S: u64 = 1_700_000_000;

/// The step and the factors of `splitmix64` (Steele, Lea and Flood 2014, figure 17).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const FACTORS: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    /// The virtual time at which the thread entered.
    static ENTERED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether the clock is being read already: tokio's asks for ours.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, its thread is repeatable.
#[derive(Debug)]
pub struct Repeatable(());

/// Makes this thread repeatable from `seed`. Call it first of all on a new thread: a `HashMap` made
/// earlier has drawn its keys already. Time follows the paused clock of the tokio runtime that the
/// thread is in, and stands still outside of one.
pub fn enter(seed: u64) -> Repeatable {
    RANDOM.set(seed);
    ENTERED.set(None);
    INSIDE.set(true);
    ENTERED.set(Some(Instant::now()));
    Repeatable(())
}

impl Drop for Repeatable {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

fn next_random() -> u64 {
    let state = RANDOM.get().wrapping_add(STEP);
    RANDOM.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(FACTORS[0]);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(FACTORS[1]);
    mixed ^ (mixed >> 31)
}

/// The virtual time since the thread entered.
fn elapsed() -> Duration {
    if READING.replace(true) {
        return Duration::ZERO;
    }
    // Outside of a runtime, tokio's clock asks for this one, which is then being read already.
    let elapsed = ENTERED.get().map_or(Duration::ZERO, |entered| {
        tokio::time::Instant::now().into_std().saturating_duration_since(entered)
    });
    READING.set(false);
    elapsed
}

/// Replaces getrandom(2).
///
/// # Safety
/// `buffer` must be valid for `length` bytes, as for the original.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: usize,
    flags: libc::c_uint,
) -> isize {
    if !INSIDE.get() || buffer.is_null() {
        // SAFETY: the caller's promise is passed on.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(filled).expect("a long is as wide as an isize on Linux");
    }
    // SAFETY: the caller promises so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(size_of::<u64>()) {
        chunk.copy_from_slice(&next_random().to_le_bytes()[..chunk.len()]);
    }
    length.cast_signed()
}

/// Replaces getentropy(3).
///
/// # Safety
/// `buffer` must be valid for `length` bytes, as for the original.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut libc::c_void, length: usize) -> libc::c_int {
    // SAFETY: the caller's promise is passed on.
    let filled = unsafe { getrandom(buffer, length, 0) };
    if filled == length.cast_signed() { 0 } else { -1 }
}

/// Replaces clock_gettime(2) for the clocks that show the time of day or the time since a start.
///
/// # Safety
/// `time` must be valid for one value, as for the original.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let start_s = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some(REALTIME_START_S),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Some(MONOTONIC_START_S),
        _ => None,
    };
    let Some(start_s) = start_s.filter(|_| INSIDE.get()) else {
        // SAFETY: the caller's promise is passed on.
        let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return -libc::c_int::from(done != 0);
    };
    let now = Duration::from_secs(start_s) + elapsed();
    let now = libc::timespec {
        tv_sec: now.as_secs().cast_signed(),
        tv_nsec: i64::from(now.subsec_nanos()),
    };
    // SAFETY: the caller promises room for one value.
    unsafe { time.write(now) };
    0
}
