//! Primitives that need `std`: shared ownership, a mutex, thread-locals, backoff.

#[cfg(not(tollgate_loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

/// Atomics of `std` that loom does not model: their values decide nothing that a model checks.
pub(crate) mod unmodelled {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
}

/// Declares a thread-local with a constant initializer. Under loom the initializer is not constant.
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(tollgate_loom))]
        std::thread_local! { $(#[$attribute])* static $name: $type = const { $value }; }
        #[cfg(tollgate_loom)]
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}
pub(crate) use per_thread;

/// Backoff of a thread that waits for another thread to finish some tens of nanoseconds of work.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    #[cfg(not(tollgate_loom))]
    backoff: crossbeam_utils::Backoff,
    #[cfg(tollgate_loom)]
    waited: std::cell::Cell<bool>,
}

impl Backoff {
    pub(crate) fn wait(&self) {
        #[cfg(not(tollgate_loom))]
        self.backoff.snooze();
        #[cfg(tollgate_loom)]
        {
            // When two threads wait for a third, loom would alternate between the two forever. A
            // thread that waits a second time has changed nothing, so no further order of this
            // execution is explored.
            if self.waited.replace(true) {
                loom::skip_branch();
            }
            loom::thread::yield_now();
        }
    }
}
