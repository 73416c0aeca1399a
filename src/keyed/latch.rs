//! Latches for inserts. A latch is held for some tens of nanoseconds. Decisions on keys that the
//! table holds take no latch.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Backoff, Ordering};

/// Number of latches, which the sets share. It is large enough that concurrent inserts seldom
/// contend.
const LATCHES: usize = 256;

#[derive(Debug)]
pub(super) struct Latches(Box<[CachePadded<AtomicU64>]>);

impl Latches {
    pub(super) fn new(sets: usize) -> Latches {
        Latches(
            (0..sets.min(LATCHES))
                .map(|_| CachePadded::new(AtomicU64::new(0)))
                .collect(),
        )
    }

    /// Acquires the latch of a set. Dropping the guard releases it.
    pub(super) fn acquire(&self, set: usize) -> LatchGuard<'_> {
        let latch: &AtomicU64 = &self.0[set % self.0.len()];
        let backoff = Backoff::default();
        // Acquire and release, as in any lock: the next holder sees the last holder's writes to the
        // sets.
        while latch
            .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            backoff.wait();
        }
        LatchGuard(latch)
    }
}

#[derive(Debug)]
pub(super) struct LatchGuard<'a>(&'a AtomicU64);

impl Drop for LatchGuard<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
