//! So that calls take turns in every order.
//!
//! Loom tries another order where two threads touch the same object, but of each object it
//! remembers only the latest access. A thread that loads a word before it swaps it hides so, behind
//! its own load, whoever read the word before. A call that begins by counting one number up depends
//! on every other call, and so each order of whole calls is tried, whatever they do inside.

use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

#[derive(Clone)]
pub struct Turn(Arc<AtomicU64>);

impl Turn {
    pub fn new() -> Turn {
        Turn(Arc::new(AtomicU64::new(0)))
    }

    /// Relaxed: shows no thread what another one wrote.
    pub fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
