//! Invalidation of decisions whose key was reset or evicted early.
//!
//! A word has no room for this, so it is stored per group of keys: as the stamp from which on
//! decisions are valid. Resets and early evictions have separate stamps, since only a reset makes
//! waiters queue again. The keys of a group share the stamps: a few more decisions than necessary
//! become invalid, and never one too few.

use super::{
    memory::{Pair, Pairs},
    tag,
};
use crate::sync::Ordering;

/// Number of groups. It is large enough that a reset seldom affects another key.
const GROUPS: usize = 1024;

/// The stamps of resets and of evictions.
const RESET: usize = 0;
const EVICTED: usize = 1;

/// Pairs of stamps that only increase. They are raised (release) before the word of the bucket is
/// changed, so a thread that has read the changed word (acquire) sees them raised.
#[derive(Debug)]
pub(super) struct Invalidations(Pairs);

impl Invalidations {
    /// Returns the number of pairs of words for so many sets.
    pub(super) fn pairs(sets: usize) -> usize {
        sets.min(GROUPS)
    }

    pub(super) fn new(pairs: Pairs) -> Invalidations {
        Invalidations(pairs)
    }

    /// Invalidates decisions on this key from before `stamp`, because of a reset.
    pub(super) fn reset(&self, tag: u64, stamp: u64) {
        self.group(tag)[RESET].fetch_max(stamp, Ordering::Release);
    }

    /// Invalidates decisions on this key from before `stamp`, because of an early eviction.
    pub(super) fn evict(&self, tag: u64, stamp: u64) {
        self.group(tag)[EVICTED].fetch_max(stamp, Ordering::Release);
    }

    /// Returns true when a reset has invalidated the decision with this stamp.
    pub(super) fn is_reset(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.group(tag)[RESET].load(Ordering::Acquire)
    }

    /// Returns true when an early eviction has invalidated the decision with this stamp.
    pub(super) fn is_evicted(&self, tag: u64, stamp: u64) -> bool {
        stamp < self.group(tag)[EVICTED].load(Ordering::Acquire)
    }

    fn group(&self, tag: u64) -> &Pair {
        &self.0[tag::group(tag) % self.0.len()]
    }
}
