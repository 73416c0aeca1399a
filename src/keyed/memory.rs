//! The table's memory: slots of 16 bytes, four to a cache line, two buddy lines to a set; and where
//! a key may stand.

use super::sync::zeroed_pairs;
use crate::sync::AtomicU64;

/// A tag and a word. The tag says whose the word is.
pub(super) type Slot = [AtomicU64; 2];
pub(super) const TAG: usize = 0;
pub(super) const WORD: usize = 1;

/// The lowest bit of a tag: its slot is about to change hands.
pub(super) const BUSY: u64 = 1;
/// The tag of a slot that nobody has had.
pub(super) const UNUSED: u64 = 0;

#[cfg(not(tollgate_loom))]
const LINE: usize = 4;
/// Small enough for loom to fill.
#[cfg(tollgate_loom)]
const LINE: usize = 1;
pub(super) const SET: usize = 2 * LINE;
const SET_BYTES: usize = SET * size_of::<Slot>();

#[derive(Debug)]
pub(super) struct Memory {
    slots: Box<[Slot]>,
    /// Slots to pass over so that sets begin at cache lines.
    skip: usize,
    sets: usize,
}

/// Where a key may stand, and what it is called there: two sets, and in each the line to look in
/// first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) tag: u64,
    /// First slots of the four lines, in the order in which to look.
    lines: [usize; 4],
    pub(super) home: usize,
}

impl Memory {
    /// Zeroed memory of so many sets, at least 2; `None` when there is no such memory.
    pub(super) fn new(sets: usize) -> Option<Memory> {
        let slots = zeroed_pairs(sets.checked_mul(SET)?.checked_add(SET - 1)?)?;
        let skip = slots.as_ptr().addr().wrapping_neg() % SET_BYTES / size_of::<Slot>();
        Some(Memory { slots, skip, sets })
    }

    pub(super) fn sets(&self) -> usize {
        self.sets
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Two sets from the two halves of the hash, by multiplication instead of division; the lowest
    /// bits of each half, which hardly take part in that, choose the line.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        let (home, other) = (self.set(hash >> 32), self.set(hash & u64::from(u32::MAX)));
        let other = if other != home {
            other
        } else if home + 1 < self.sets {
            home + 1
        } else {
            0
        };
        let first = |set: usize| self.skip + set * SET;
        let (home_line, other_line) = (
            (hash >> 32 & 1) as usize * LINE,
            (hash >> 1 & 1) as usize * LINE,
        );
        Place {
            tag: Memory::tag(hash),
            lines: [
                first(home) + home_line,
                first(home) + (LINE - home_line),
                first(other) + other_line,
                first(other) + (LINE - other_line),
            ],
            home,
        }
    }

    /// The set that 32 bits of a hash stand for.
    #[inline]
    fn set(&self, half: u64) -> usize {
        ((half * self.sets as u64) >> 32) as usize
    }

    /// What a key is called: never what an unused slot is called.
    #[inline]
    pub(super) fn tag(hash: u64) -> u64 {
        (hash & !BUSY).max(BUSY << 1)
    }

    /// The slots to look at first, without the rest of the key's [`Place`].
    #[inline]
    pub(super) fn home_line(&self, hash: u64) -> &[Slot] {
        let first = self.skip + self.set(hash >> 32) * SET + (hash >> 32 & 1) as usize * LINE;
        &self.slots[first..][..LINE]
    }

    /// The four slots of a key's n-th line.
    #[inline]
    fn line(&self, place: &Place, n: usize) -> &[Slot] {
        &self.slots[place.lines[n]..][..LINE]
    }

    /// The sixteen slots of a key, home set first.
    pub(super) fn candidates(&self, place: &Place) -> impl Iterator<Item = &Slot> {
        (0..4).flat_map(|n| self.line(place, n))
    }

    /// The same without those of the [`home_line`](Memory::home_line).
    pub(super) fn further_candidates(&self, place: &Place) -> impl Iterator<Item = &Slot> {
        (1..4).flat_map(|n| self.line(place, n))
    }

    pub(super) fn all(&self) -> &[Slot] {
        &self.slots[self.skip..][..self.sets * SET]
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Memory, SET};

    #[test]
    fn a_key_stands_in_two_sets_of_two_whole_lines() {
        for sets in [2, 3, 1000] {
            let memory = Memory::new(sets).unwrap();
            for hash in [
                0,
                1,
                u64::MAX,
                0x8000_0000_0000_0000,
                0x1234_5678_9abc_def0,
                u64::from(u32::MAX),
            ] {
                let place = memory.place(hash);
                let mut lines = place.lines.map(|line| line - memory.skip);
                assert!(
                    lines
                        .iter()
                        .all(|line| line % LINE == 0 && line / SET < sets)
                );
                assert_eq!(lines[0] / SET, lines[1] / SET);
                assert_eq!(lines[2] / SET, lines[3] / SET);
                lines.sort_unstable();
                assert!(
                    lines.is_sorted_by(|a, b| a < b),
                    "four different lines: {lines:?}"
                );
                assert!(std::ptr::eq(memory.home_line(hash), memory.line(&place, 0)));
                assert_eq!(place.tag & 1, 0);
                assert_ne!(place.tag, 0);
            }
        }
    }

    #[test]
    fn sets_begin_at_cache_lines() {
        let memory = Memory::new(100).unwrap();
        assert_eq!(memory.all().as_ptr().addr() % 128, 0);
        assert_eq!(memory.all().len(), 100 * SET);
    }
}
