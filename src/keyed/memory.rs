//! Memory of a table, as pairs of words: of slots, latches, stamps of invalidations, and counters.

use std::ops::Deref;

use crate::sync::AtomicU64;

/// Two words that are read together.
pub(super) type Pair = [AtomicU64; 2];

/// Pairs between two words that different threads write often: 128 bytes, two adjacent cache lines.
#[cfg(not(tollgate_loom))]
const STRIDE: usize = 8;
#[cfg(tollgate_loom)]
const STRIDE: usize = 1;

/// Pairs of words, zeroed at first.
#[derive(Debug)]
pub(super) enum Pairs {
    Heap(Box<[Pair]>),
}

impl Pairs {
    /// Allocates zeroed pairs. The operating system commits their pages on first use. Returns `None`
    /// when the allocation fails.
    #[cfg(not(tollgate_loom))]
    pub(super) fn on_heap(length: usize) -> Option<Pairs> {
        bytemuck::try_zeroed_slice_box(length).ok().map(Pairs::Heap)
    }

    #[cfg(tollgate_loom)]
    pub(super) fn on_heap(length: usize) -> Option<Pairs> {
        let pair = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Some(Pairs::Heap((0..length).map(pair).collect()))
    }
}

impl Deref for Pairs {
    type Target = [Pair];

    #[inline(always)]
    fn deref(&self) -> &[Pair] {
        match self {
            Pairs::Heap(pairs) => pairs,
        }
    }
}

/// Words that different threads write often, each on cache lines of its own.
#[derive(Debug)]
pub(super) struct PaddedWords(Pairs);

impl PaddedWords {
    /// Returns the number of pairs that so many words take.
    pub(super) fn pairs(words: usize) -> usize {
        words * STRIDE
    }

    pub(super) fn new(pairs: Pairs) -> PaddedWords {
        PaddedWords(pairs)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() / STRIDE
    }

    pub(super) fn get(&self, n: usize) -> &AtomicU64 {
        &self.0[n * STRIDE][0]
    }
}
