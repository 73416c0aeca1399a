//! Atomics of models whose threads may die: a thread that has a number of steps left makes that many
//! operations, and no more. Its call ends by unwinding, on which nothing is written any more, as if the
//! process of the thread had been killed.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
};

use loom::sync::atomic::{self, Ordering};

use super::{per_thread, stepped::stepped_operations};

per_thread! {
    /// Operations that this thread makes before it dies.
    static STEPS: Cell<Option<u32>> = Cell::new(None);
}

/// Payload of the unwinding that ends a thread.
#[derive(Debug)]
pub struct Death;

/// Calls a function, which ends before its operation number `steps`.
pub fn with_steps(steps: Option<u32>, call: impl FnOnce()) -> Result<(), Death> {
    STEPS.with(|left| left.set(steps));
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    STEPS.with(|left| left.set(None));
    result.or_else(|panic| match panic.downcast::<Death>() {
        Ok(death) => Err(*death),
        Err(panic) => panic::resume_unwind(panic),
    })
}

/// Makes a step. Returns false when the thread is dead, and unwinds.
fn step() -> bool {
    let left = STEPS.try_with(Cell::get).ok().flatten();
    match left {
        None => true,
        Some(0) if std::thread::panicking() => false,
        Some(0) => panic::resume_unwind(Box::new(Death)),
        Some(steps) => {
            STEPS.with(|left| left.set(Some(steps - 1)));
            true
        }
    }
}

#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(atomic::AtomicU64::new(value))
    }
}

stepped_operations!();
