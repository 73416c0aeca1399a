//! Counting without threads in one another's way: each has a place of its own, or shares it with
//! few.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

const PLACES: usize = 16;

static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    static PLACE: usize = NEXT_PLACE.fetch_add(1, Ordering::Relaxed) % PLACES;
}

/// A number that many threads add to, and few read.
#[derive(Default)]
pub(super) struct Counter([CachePadded<AtomicU64>; PLACES]);

impl Counter {
    #[inline]
    pub(super) fn add_one(&self) {
        // While a thread ends it has no place: any will do.
        let place = PLACE.try_with(|&place| place).unwrap_or(0);
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0
            .iter()
            .map(|place| place.load(Ordering::Relaxed))
            .sum()
    }
}
