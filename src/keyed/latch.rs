//! Latches for inserts. A latch is held for some tens of nanoseconds. Decisions on keys that the
//! table holds take no latch.
//!
//! A latch is a number that only grows: it is closed while it is odd. Its holder knows it by that
//! number, its ticket. Where the holder may have died, the next thread takes the latch from it with
//! the next odd number, and the ticket is no longer valid. Each change is a read-modify-write, so
//! that every holder sees what those before it did.

use super::{
    counters::{Counter, Counters},
    memory::{PaddedWords, Pairs},
    patience::Waits,
};
use crate::sync::{AtomicU64, Ordering};

/// Number of latches, which the sets share. It is large enough that concurrent inserts seldom
/// contend.
const LATCHES: usize = 256;

#[derive(Debug)]
pub(super) struct Latches(PaddedWords);

impl Latches {
    /// Returns the number of pairs of words that the latches of so many sets take.
    pub(super) fn pairs(sets: usize) -> usize {
        PaddedWords::pairs(sets.min(LATCHES))
    }

    pub(super) fn new(pairs: Pairs) -> Latches {
        Latches(PaddedWords::new(pairs))
    }

    /// Closes the latch of a set. Dropping the ticket opens it. Returns `None` when the insert has
    /// waited for too long.
    pub(super) fn close(
        &self,
        set: usize,
        waits: &Waits,
        counters: &Counters,
    ) -> Option<Ticket<'_>> {
        let latch = self.0.get(set % self.0.len());
        let mut wait = waits.wait();
        while !waits.are_over() {
            let seen = latch.load(Ordering::Relaxed);
            let is_closed = seen % 2 == 1;
            if is_closed && !wait.is_over(seen) {
                continue;
            }
            let number = seen.wrapping_add(1 + u64::from(is_closed));
            // Acquire: the holder sees the last holder's writes to the sets.
            if latch
                .compare_exchange(seen, number, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                if is_closed {
                    counters.add_repair(Counter::Stolen);
                }
                return Some(Ticket { latch, number });
            }
            waits.fail();
        }
        None
    }

    /// Opens all latches that are closed. Their holders, if they live, start over.
    #[cfg(feature = "shared")]
    pub(super) fn open_all(&self) {
        for latch in (0..self.0.len()).map(|n| self.0.get(n)) {
            let seen = latch.load(Ordering::Relaxed);
            if seen % 2 == 1 {
                let open = seen.wrapping_add(1);
                let _ = latch.compare_exchange(seen, open, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }
}

/// Right to insert keys of the sets that share a latch.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    latch: &'a AtomicU64,
    number: u64,
}

impl Ticket<'_> {
    /// Returns true when no other thread has taken the latch. A later holder then sees what this
    /// thread did before.
    pub(super) fn is_valid(&self) -> bool {
        // A read-modify-write, since a load would neither see the newest number nor release.
        self.latch
            .compare_exchange(
                self.number,
                self.number,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // Fails when another thread has taken the latch, which is then not this one's to open.
        let open = self.number.wrapping_add(1);
        let _ =
            self.latch
                .compare_exchange(self.number, open, Ordering::Release, Ordering::Relaxed);
    }
}
