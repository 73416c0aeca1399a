//! Which decisions no longer count, because their key was reset or forgotten early.
//!
//! A word has no room to remember that, so it is kept per group of keys, as the stamp from which on
//! decisions count: for a reset and for an early eviction apart, since only a reset makes those who
//! wait queue again. Keys of one group share the bound: a few decisions too many then give nothing
//! back, never one too few.

use crate::sync::{AtomicU64, Ordering};

/// So many that a reset seldom means anything to somebody else.
const GROUPS: usize = 1024;

#[derive(Debug)]
pub(super) struct Bounds(Box<[Bound]>);

/// Two words that only ever grow. They are raised (release) before the word of the bucket is
/// changed, so whoever has read the changed word (acquire) finds them raised.
#[derive(Debug)]
struct Bound {
    reset: AtomicU64,
    evicted: AtomicU64,
}

impl Bounds {
    pub(super) fn new(sets: usize) -> Bounds {
        let bound = |_| Bound {
            reset: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        };
        Bounds((0..sets.min(GROUPS)).map(bound).collect())
    }

    /// Decisions on this key from before `stamp` are reset.
    pub(super) fn reset(&self, tag: u64, stamp: u64) {
        self.of(tag).reset.fetch_max(stamp, Ordering::Release);
    }

    /// Decisions on this key from before `stamp` are forgotten.
    pub(super) fn evicted(&self, tag: u64, stamp: u64) {
        self.of(tag).evicted.fetch_max(stamp, Ordering::Release);
    }

    pub(super) fn is_reset(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.of(tag).reset.load(Ordering::Acquire)
    }

    pub(super) fn is_evicted(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.of(tag).evicted.load(Ordering::Acquire)
    }

    fn of(&self, tag: u64) -> &Bound {
        // The lowest bit is not the hash's.
        &self.0[(tag >> 1) as usize % self.0.len()]
    }
}
