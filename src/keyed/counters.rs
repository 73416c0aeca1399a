//! Counters of a table.

use super::memory::{PaddedWords, Pairs};
use crate::sync::Ordering;

/// Event that a table counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    /// Keys that were evicted before their bucket was full.
    EvictedEarly,
    /// Requests that were refused because the table had no slot for their key.
    Saturated,
    /// Latches taken from a thread that counted as gone.
    Stolen,
    /// Marks undone that such a thread had left.
    Undone,
    /// Inserts that started over because another thread took this one for dead.
    Fenced,
}

const COUNT: usize = Counter::Fenced as usize + 1;

/// Sums that all threads add to, each on cache lines of its own.
#[derive(Debug)]
pub(super) struct Counters(PaddedWords);

impl Counters {
    /// Returns the number of pairs of words that the counters take.
    pub(super) fn pairs() -> usize {
        PaddedWords::pairs(COUNT)
    }

    pub(super) fn new(pairs: Pairs) -> Counters {
        Counters(PaddedWords::new(pairs))
    }

    pub(super) fn add(&self, counter: Counter) {
        self.0.get(counter as usize).fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what was counted before it was known to happen.
    pub(super) fn subtract(&self, counter: Counter) {
        self.0.get(counter as usize).fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a repair. Models do not: it would be a step of theirs that decides nothing.
    pub(super) fn add_repair(&self, counter: Counter) {
        if cfg!(not(tollgate_loom)) {
            self.add(counter);
        }
    }

    pub(super) fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).load(Ordering::Relaxed)
    }
}
