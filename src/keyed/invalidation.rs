//! Invalidation of decisions whose key was reset or evicted early.
//!
//! A word has no room for this, so it is stored per group of keys: as the stamp from which on
//! decisions are valid. Resets and early evictions have separate stamps, since only a reset makes
//! waiters queue again. The keys of a group share the stamps: a few more decisions than necessary
//! become invalid, and never one too few.

use super::tag;
use crate::sync::{AtomicU64, Ordering};

/// Number of groups. It is large enough that a reset seldom affects another key.
const GROUPS: usize = 1024;

#[derive(Debug)]
pub(super) struct Invalidations(Box<[Watermarks]>);

/// Two stamps that only increase. They are raised (release) before the word of the bucket is
/// changed, so a thread that has read the changed word (acquire) sees them raised.
#[derive(Debug)]
struct Watermarks {
    reset: AtomicU64,
    evicted: AtomicU64,
}

impl Invalidations {
    pub(super) fn new(sets: usize) -> Invalidations {
        let watermarks = |_| Watermarks {
            reset: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        };
        Invalidations((0..sets.min(GROUPS)).map(watermarks).collect())
    }

    /// Invalidates decisions on this key from before `stamp`, because of a reset.
    pub(super) fn reset(&self, tag: u64, stamp: u64) {
        self.group(tag).reset.fetch_max(stamp, Ordering::Release);
    }

    /// Invalidates decisions on this key from before `stamp`, because of an early eviction.
    pub(super) fn evict(&self, tag: u64, stamp: u64) {
        self.group(tag).evicted.fetch_max(stamp, Ordering::Release);
    }

    /// Returns true when a reset has invalidated the decision with this stamp.
    pub(super) fn is_reset(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.group(tag).reset.load(Ordering::Acquire)
    }

    /// Returns true when an early eviction has invalidated the decision with this stamp.
    pub(super) fn is_evicted(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.group(tag).evicted.load(Ordering::Acquire)
    }

    fn group(&self, tag: u64) -> &Watermarks {
        &self.0[tag::group(tag) % self.0.len()]
    }
}
