//! What the table and its generations need beyond atomics: from the standard library and crossbeam,
//! or from loom.

#[cfg(not(tollgate_loom))]
pub(crate) use std::sync::{Arc, Mutex};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::{Arc, Mutex};

/// A thread-local that is made in a constant, which loom's cannot be.
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(tollgate_loom))]
        std::thread_local! { $(#[$attribute])* static $name: $type = const { $value }; }
        #[cfg(tollgate_loom)]
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}
pub(crate) use per_thread;

/// Waiting for a thread that is in the middle of some tens of nanoseconds of work.
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
            // Of two who wait for a third, loom would let one and then the other go round for ever.
            // Who comes round a second time changes nothing by it, so from there on no other order
            // is tried.
            if self.waited.replace(true) {
                loom::skip_branch();
            }
            loom::thread::yield_now();
        }
    }
}

/// `length` zeroed pairs, untouched until they are used; `None` when there is no such memory.
#[cfg(not(tollgate_loom))]
pub(crate) fn zeroed_pairs(length: usize) -> Option<Box<[[crate::sync::AtomicU64; 2]]>> {
    bytemuck::try_zeroed_slice_box(length).ok()
}

#[cfg(tollgate_loom)]
pub(crate) fn zeroed_pairs(length: usize) -> Option<Box<[[crate::sync::AtomicU64; 2]]>> {
    Some(
        (0..length)
            .map(|_| std::array::from_fn(|_| crate::sync::AtomicU64::new(0)))
            .collect(),
    )
}
