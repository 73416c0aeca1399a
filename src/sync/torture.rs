//! Atomics of processes that are tortured: before any operation the process may kill or stop itself,
//! sleep, or yield. For the program in `tests/torture` alone.

use core::sync::atomic::{self, Ordering};
use std::{cell::Cell, thread, time::Duration};

use rustix::process::{Signal, getpid, kill_process};

use super::stepped::stepped_operations;

std::thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Nothing) };
}

#[derive(Clone, Copy)]
enum Plan {
    Nothing,
    /// Something happens before so many of a million operations, at random.
    Often {
        per_million: u32,
        random: u64,
    },
    /// A signal comes before the operation with this number.
    Once {
        steps: u32,
        signal: Signal,
    },
}

/// Lets something happen to this thread before so many of a million operations.
pub fn often(per_million: u32, seed: u64) {
    // A generator of zeros would stay there.
    let random = seed | 1;
    PLAN.set(Plan::Often {
        per_million,
        random,
    });
}

/// Kills this process before its operation number `steps`.
pub fn die_at(steps: u32) {
    PLAN.set(Plan::Once {
        steps,
        signal: Signal::KILL,
    });
}

/// Stops this process before its operation number `steps`.
pub fn stop_at(steps: u32) {
    PLAN.set(Plan::Once {
        steps,
        signal: Signal::STOP,
    });
}

/// Lets nothing more happen to this thread. Returns true if something was still to come.
pub fn rest() -> bool {
    !matches!(PLAN.replace(Plan::Nothing), Plan::Nothing)
}

/// Makes a step, which the process may not survive. Returns true: it has.
#[inline]
fn step() -> bool {
    match PLAN.get() {
        Plan::Nothing => {}
        Plan::Often {
            per_million,
            random,
        } => {
            let random = next(random);
            PLAN.set(Plan::Often {
                per_million,
                random,
            });
            if random % 1_000_000 < u64::from(per_million) {
                happen(random >> 32);
            }
        }
        Plan::Once { steps: 0, signal } => {
            PLAN.set(Plan::Nothing);
            signal_self(signal);
        }
        Plan::Once { steps, signal } => PLAN.set(Plan::Once {
            steps: steps - 1,
            signal,
        }),
    }
    true
}

#[cold]
fn happen(random: u64) {
    match random % 4 {
        0 => signal_self(Signal::KILL),
        1 => signal_self(Signal::STOP),
        2 => thread::sleep(Duration::from_micros(random / 4 % 1000)),
        _ => thread::yield_now(),
    }
}

fn signal_self(signal: Signal) {
    // The process is its own, so it may.
    let _ = kill_process(getpid(), signal);
}

/// The generator of Marsaglia, "Xorshift RNGs" (2003), with the shifts 13, 7 and 17.
fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ random << 17
}

#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> AtomicU64 {
        AtomicU64(atomic::AtomicU64::new(value))
    }
}

stepped_operations!();
