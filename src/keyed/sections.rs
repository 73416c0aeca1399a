//! Sections of a table's memory: on the heap, or one after another in a mapped file.

use super::{
    counters::Counters, invalidation::Invalidations, latch::Latches, memory::Pairs, sets::Sets,
};
#[cfg(feature = "shared")]
use std::ops::Range;

#[cfg(feature = "shared")]
use super::{memory::STRIDE, shared::Region};
#[cfg(feature = "shared")]
use crate::sync::Arc;

/// Number of the format of a table in memory: of its sections, tags, words and hashes' use.
#[cfg(feature = "shared")]
pub(super) const FORMAT: u64 = 1;

/// Memory of a table.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) counters: Pairs,
    pub(super) latches: Pairs,
    pub(super) invalidations: Pairs,
    pub(super) slots: Pairs,
}

impl Sections {
    /// Allocates zeroed memory. Returns `None` when the allocation fails.
    pub(super) fn on_heap(sets: usize) -> Option<Sections> {
        Some(Sections {
            counters: Pairs::on_heap(Counters::pairs())?,
            latches: Pairs::on_heap(Latches::pairs(sets))?,
            invalidations: Pairs::on_heap(Invalidations::pairs(sets))?,
            slots: Pairs::on_heap(Sets::pairs(sets)?)?,
        })
    }

    /// Returns the number of pairs in a section of a file for each of these. Sections begin on two
    /// adjacent cache lines.
    #[cfg(feature = "shared")]
    fn lengths(sets: usize) -> Option<[usize; 4]> {
        let pairs = [
            Counters::pairs(),
            Latches::pairs(sets),
            Invalidations::pairs(sets),
            Sets::pairs(sets)?,
        ];
        Some(pairs.map(|pairs| pairs.next_multiple_of(STRIDE)))
    }

    /// Returns the words of the slots, after the header of a file.
    #[cfg(feature = "shared")]
    pub(super) fn slots(sets: usize) -> Option<Range<usize>> {
        let [counters, latches, invalidations, slots] = Sections::lengths(sets)?;
        let first = counters + latches + invalidations;
        Some(2 * first..2 * (first + slots))
    }

    /// Returns the number of pairs of a table in a file. `None`: too many.
    #[cfg(feature = "shared")]
    pub(super) fn pairs(sets: usize) -> Option<usize> {
        Some(Sections::lengths(sets)?.iter().sum())
    }

    /// Returns the sections of a mapped file, which begin with this pair. The size of the file was checked.
    #[cfg(feature = "shared")]
    pub(super) fn in_region(
        region: &Arc<Region>,
        mut first: usize,
        sets: usize,
    ) -> Option<Sections> {
        let [counters, latches, invalidations, slots] = Sections::lengths(sets)?.map(|length| {
            let section = Pairs::in_region(region, first, length);
            first += length;
            section
        });
        Some(Sections {
            counters,
            latches,
            invalidations,
            slots,
        })
    }
}
