//! Sets of the table: slots of 16 bytes, four to a cache line, two adjacent lines to a set; and the
//! probe sequence of a key.

use super::{
    memory::{Pair, Pairs},
    tag,
};

/// A tag and a word. The tag identifies the key that owns the word.
pub(super) type Slot = Pair;
pub(super) const TAG: usize = 0;
pub(super) const WORD: usize = 1;

#[cfg(not(tollgate_loom))]
const SLOTS_PER_LINE: usize = 4;
/// Small, so that a loom model can fill it.
#[cfg(tollgate_loom)]
const SLOTS_PER_LINE: usize = 1;
pub(super) const SLOTS_PER_SET: usize = 2 * SLOTS_PER_LINE;
const SET_BYTES: usize = SLOTS_PER_SET * size_of::<Slot>();

/// A set is selected by a multiplication with 32 bits of the hash.
const MAX_SETS: u64 = 1 << 32;
/// Slots per six keys: at a load of 0.6 the table has room for as many keys as were requested.
const SLOTS_PER_SIX_KEYS: u64 = 10;
/// Greatest number of keys that a table can be sized for.
pub(super) const MAX_KEYS: u64 = MAX_SETS * SLOTS_PER_SET as u64 * 6 / SLOTS_PER_SIX_KEYS;

/// Returns the number of sets for `max_keys` keys, or `None` for zero keys or too many to address.
pub(super) fn sets_for(max_keys: usize) -> Option<usize> {
    let keys = max_keys as u64;
    let slots = keys.checked_mul(SLOTS_PER_SIX_KEYS)?;
    let sets = slots.div_ceil(6 * SLOTS_PER_SET as u64).max(FEWEST as u64);
    if keys > 0 && sets <= MAX_SETS {
        usize::try_from(sets).ok()
    } else {
        None
    }
}

/// Smallest number of sets: those of one key.
pub(super) const FEWEST: usize = 2;

/// Returns true for a number of sets that a table may have.
#[cfg(feature = "shared")]
pub(super) fn is_possible(sets: usize) -> bool {
    (FEWEST..=MAX_SETS as usize).contains(&sets)
}

/// Returns the number of slots in so many sets.
#[cfg(feature = "shared")]
pub(super) fn slots_of(sets: usize) -> usize {
    sets.saturating_mul(SLOTS_PER_SET)
}

/// Returns the size of so many sets in bytes.
pub(super) fn bytes_of(sets: usize) -> usize {
    sets.saturating_mul(SET_BYTES)
}

#[derive(Debug)]
pub(super) struct Sets {
    slots: Pairs,
    /// Slots to skip so that sets are aligned to cache lines.
    skip: usize,
    count: usize,
}

/// Tag and probe sequence of a key: two sets, and in each of them the line to probe first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// In its first version; see [`tag`].
    pub(super) tag: u64,
    /// First slots of the four lines, in probe order.
    lines: [usize; 4],
    pub(super) home: usize,
}

impl Sets {
    /// Returns the number of slots of so many sets, wherever in memory they begin. `None`: too many.
    pub(super) fn pairs(sets: usize) -> Option<usize> {
        sets.checked_mul(SLOTS_PER_SET)?
            .checked_add(SLOTS_PER_SET - 1)
    }

    /// Creates so many sets, at least 2, in memory that was zeroed at first.
    pub(super) fn new(slots: Pairs, count: usize) -> Sets {
        let skip = slots.as_ptr().addr().wrapping_neg() % SET_BYTES / size_of::<Slot>();
        Sets { slots, skip, count }
    }

    /// Returns the number of sets.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Returns the probe sequence of a key. The two halves of the hash select the two sets, by
    /// multiplication instead of division. The lowest bits of each half hardly affect that product,
    /// so they select the line.
    #[inline]
    pub(super) fn probe(&self, hash: u64) -> Probe {
        let (home, other) = self.sets_of(hash);
        let first = |set: usize| self.skip + set * SLOTS_PER_SET;
        let (home_line, other_line) = (
            (hash >> 32 & 1) as usize * SLOTS_PER_LINE,
            (hash >> 1 & 1) as usize * SLOTS_PER_LINE,
        );
        Probe {
            tag: tag::of(hash),
            lines: [
                first(home) + home_line,
                first(home) + (SLOTS_PER_LINE - home_line),
                first(other) + other_line,
                first(other) + (SLOTS_PER_LINE - other_line),
            ],
            home,
        }
    }

    /// Returns the home set of a key, and its other set.
    #[inline]
    fn sets_of(&self, hash: u64) -> (usize, usize) {
        let (home, other) = (self.set(hash >> 32), self.set(hash & u64::from(u32::MAX)));
        let other = if other != home {
            other
        } else if home + 1 < self.count {
            home + 1
        } else {
            0
        };
        (home, other)
    }

    /// Returns a number of the two sets of a key. Keys with the same tag and the same two sets share
    /// a bucket.
    pub(super) fn pair(&self, hash: u64) -> u64 {
        let (home, other) = self.sets_of(hash);
        (home.min(other) as u64) << 32 | home.max(other) as u64
    }

    /// Returns the set that 32 bits of a hash select.
    #[inline]
    fn set(&self, half: u64) -> usize {
        ((half * self.count as u64) >> 32) as usize
    }

    /// Returns the slots to probe first, without computing the rest of the [`Probe`].
    #[inline]
    pub(super) fn home_line(&self, hash: u64) -> &[Slot] {
        let first = self.skip
            + self.set(hash >> 32) * SLOTS_PER_SET
            + (hash >> 32 & 1) as usize * SLOTS_PER_LINE;
        &self.slots[first..][..SLOTS_PER_LINE]
    }

    /// Returns the four slots of the n-th line in the probe sequence.
    #[inline]
    fn line(&self, probe: &Probe, n: usize) -> &[Slot] {
        &self.slots[probe.lines[n]..][..SLOTS_PER_LINE]
    }

    /// Iterates over the sixteen slots of a key, home set first.
    pub(super) fn candidates(&self, probe: &Probe) -> impl Iterator<Item = &Slot> {
        (0..4).flat_map(|n| self.line(probe, n))
    }

    /// Iterates over the slots of a key outside of its [`home_line`](Sets::home_line).
    pub(super) fn further_candidates(&self, probe: &Probe) -> impl Iterator<Item = &Slot> {
        (1..4).flat_map(|n| self.line(probe, n))
    }

    pub(super) fn all_slots(&self) -> &[Slot] {
        &self.slots[self.skip..][..self.count * SLOTS_PER_SET]
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_KEYS, Pairs, SLOTS_PER_LINE, SLOTS_PER_SET, Sets, sets_for};

    fn on_heap(count: usize) -> Sets {
        Sets::new(Pairs::on_heap(Sets::pairs(count).unwrap()).unwrap(), count)
    }

    #[test]
    fn a_probe_sequence_is_two_sets_of_two_whole_lines() {
        for sets in [2, 3, 1000] {
            let table = on_heap(sets);
            for hash in [
                0,
                1,
                u64::MAX,
                0x8000_0000_0000_0000,
                0x1234_5678_9abc_def0,
                u64::from(u32::MAX),
            ] {
                let probe = table.probe(hash);
                let mut lines = probe.lines.map(|line| line - table.skip);
                assert!(
                    lines
                        .iter()
                        .all(|line| line % SLOTS_PER_LINE == 0 && line / SLOTS_PER_SET < sets)
                );
                assert_eq!(lines[0] / SLOTS_PER_SET, lines[1] / SLOTS_PER_SET);
                assert_eq!(lines[2] / SLOTS_PER_SET, lines[3] / SLOTS_PER_SET);
                lines.sort_unstable();
                assert!(
                    lines.is_sorted_by(|a, b| a < b),
                    "expected four distinct lines: {lines:?}"
                );
                assert!(std::ptr::eq(table.home_line(hash), table.line(&probe, 0)));
            }
        }
    }

    #[test]
    fn sets_are_aligned_to_pairs_of_cache_lines() {
        let table = on_heap(100);
        assert_eq!(table.all_slots().as_ptr().addr() % 128, 0);
        assert_eq!(table.all_slots().len(), 100 * SLOTS_PER_SET);
    }

    #[test]
    fn tables_hold_one_to_max_keys_keys() {
        let most = usize::try_from(MAX_KEYS).unwrap();
        assert_eq!(sets_for(0), None);
        assert_eq!(sets_for(1), Some(2));
        assert_eq!(sets_for(most), Some(1 << 32));
        assert_eq!(sets_for(most + 1), None);
        assert_eq!(sets_for(usize::MAX), None);
    }
}
