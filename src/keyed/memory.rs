//! Memory of a table, as pairs of words: of slots, latches, stamps of invalidations, and counters.

use std::ops::Deref;

#[cfg(feature = "shared")]
use yoke::Yoke;

#[cfg(feature = "shared")]
use super::shared::Region;
#[cfg(feature = "shared")]
use crate::sync::Arc;

use crate::sync::AtomicU64;

/// Two words that are read together.
pub(super) type Pair = [AtomicU64; 2];

/// Pairs between two words that different threads write often: 128 bytes, two adjacent cache lines.
#[cfg(not(tollgate_loom))]
pub(super) const STRIDE: usize = 8;
#[cfg(tollgate_loom)]
const STRIDE: usize = 1;

/// Pairs of words, zeroed at first.
#[cfg(not(feature = "shared"))]
#[derive(Debug)]
pub(super) struct Pairs(Box<[Pair]>);

/// Pairs of words, zeroed at first, and what keeps them: so that both kinds are read alike, without a
/// branch.
#[cfg(feature = "shared")]
#[derive(Debug)]
pub(super) struct Pairs(Yoke<&'static [Pair], Arc<Owner>>);

#[cfg(feature = "shared")]
#[derive(Debug)]
enum Owner {
    Heap(Box<[Pair]>),
    Mapped(Arc<Region>),
}

impl Pairs {
    /// Allocates zeroed pairs. The operating system commits their pages on first use. Returns `None`
    /// when the allocation fails.
    #[cfg(not(any(tollgate_loom, tollgate_torture)))]
    pub(super) fn on_heap(length: usize) -> Option<Pairs> {
        bytemuck::try_zeroed_slice_box(length).ok().map(Pairs::from)
    }

    #[cfg(any(tollgate_loom, tollgate_torture))]
    pub(super) fn on_heap(length: usize) -> Option<Pairs> {
        let pair = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Some(Pairs::from((0..length).map(pair).collect::<Box<[_]>>()))
    }

    /// Returns so many pairs of a mapped file, which has them.
    #[cfg(feature = "shared")]
    pub(super) fn in_region(region: &Arc<Region>, first: usize, length: usize) -> Pairs {
        let owner = Arc::new(Owner::Mapped(Arc::clone(region)));
        Pairs(Yoke::attach_to_cart(owner, |owner: &Owner| {
            &owner.pairs()[first..][..length]
        }))
    }
}

impl From<Box<[Pair]>> for Pairs {
    fn from(pairs: Box<[Pair]>) -> Pairs {
        #[cfg(not(feature = "shared"))]
        return Pairs(pairs);
        #[cfg(feature = "shared")]
        Pairs(Yoke::attach_to_cart(
            Arc::new(Owner::Heap(pairs)),
            |owner: &Owner| owner.pairs(),
        ))
    }
}

impl Deref for Pairs {
    type Target = [Pair];

    #[inline(always)]
    fn deref(&self) -> &[Pair] {
        #[cfg(not(feature = "shared"))]
        return &self.0;
        #[cfg(feature = "shared")]
        self.0.get()
    }
}

#[cfg(feature = "shared")]
impl Owner {
    fn pairs(&self) -> &[Pair] {
        match self {
            Owner::Heap(pairs) => pairs,
            Owner::Mapped(region) => region.pairs(),
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
