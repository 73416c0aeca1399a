//! Exploration of every order of whole calls.
//!
//! Loom explores another order where two threads access the same object, but it remembers only the
//! latest access of each object. A thread that loads a word before its CAS thereby hides earlier
//! readers of that word behind its own load. A call that begins with an increment of one shared
//! counter depends on every other call, so loom explores each order of whole calls, regardless of
//! the accesses inside.

use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A counter that every call increments first.
#[derive(Clone)]
pub struct CallOrder(Arc<AtomicU64>);

impl CallOrder {
    pub fn new() -> CallOrder {
        CallOrder(Arc::new(AtomicU64::new(0)))
    }

    /// Marks the beginning of a call. Relaxed: it publishes no writes to other threads.
    pub fn begin_call(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
