//! A latch for inserts: held for some tens of nanoseconds, never by a decision on a known key.

use crossbeam_utils::CachePadded;

use super::sync::Backoff;
use crate::sync::{AtomicU64, Ordering};

/// So many that two inserts at once seldom meet; sets share them.
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

    /// The latch of a set, closed until the guard is dropped.
    pub(super) fn close(&self, set: usize) -> Closed<'_> {
        let latch: &AtomicU64 = &self.0[set % self.0.len()];
        let backoff = Backoff::default();
        // Acquire and release, as for any lock: what the last holder did to the sets is seen by the
        // next.
        while latch
            .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            backoff.wait();
        }
        Closed(latch)
    }
}

#[derive(Debug)]
pub(super) struct Closed<'a>(&'a AtomicU64);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
