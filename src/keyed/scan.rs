//! Scan of a key's two sets before an insert: the slots that are free, and the victim if none is.

use super::{
    counters::{Counter, Counters},
    patience::Waits,
    sets::{Probe, SLOTS_PER_SET, Sets, Slot, TAG, WORD},
    tag,
};
use crate::{
    state::{Layout, State},
    sync::Ordering,
};

/// Below this number of refilling buckets, the home set takes a new key. From this number on, the
/// set with fewer refilling buckets does. Simulated with every key draining: at a load of 0.6 fewer
/// than one key in a million finds no free slot.
const HOME_FILL: u32 = SLOTS_PER_SET as u32 * 3 / 4;

/// The slots of the home set, as bits. The bits of the other set follow.
const HOME: u16 = (1 << SLOTS_PER_SET) - 1;

/// Result of scanning a key's sixteen slots.
pub(super) struct Scan<'a> {
    layout: &'a Layout,
    /// The latest stamp in these slots, or the time of the attempt if that is later.
    pub(super) tick: u64,
    slots: [(&'a Slot, u64); 2 * SLOTS_PER_SET],
    /// The slots that may be taken over without losing state, as bits.
    free: u16,
}

impl<'a> Scan<'a> {
    /// Scans the key's slots, once none of them is being taken over. Returns `None` if the key is
    /// present, or when the insert has waited for too long.
    pub(super) fn new(
        layout: &'a Layout,
        sets: &'a Sets,
        probe: &Probe,
        now: u64,
        waits: &Waits,
        counters: &Counters,
    ) -> Option<Scan<'a>> {
        while !waits.are_over() {
            let mut candidates = sets.candidates(probe);
            let (mut tick, mut found, mut tags) = (now, false, 0);
            let slots = std::array::from_fn(|_| {
                #[expect(clippy::expect_used, reason = "a key has two sets of slots")]
                let slot = candidates.next().expect("two sets");
                let tag = slot[TAG].load(Ordering::Acquire);
                found |= tag::is_of(tag, probe.tag);
                tags |= tag;
                let word = slot[WORD].load(Ordering::Acquire);
                tick = tick.max(layout.unpack(word).stamp);
                (slot, word)
            });
            if found {
                return None;
            }
            if tag::is_busy(tags) {
                // A key may get its slot back, whichever thread has marked it.
                sets.candidates(probe)
                    .for_each(|slot| settle(slot, waits, counters));
                waits.fail();
                continue;
            }
            let is_free =
                |&(_, word): &(&Slot, u64)| u16::from(layout.is_free(layout.unpack(word), tick));
            let free = slots
                .iter()
                .rev()
                .fold(0, |free, slot| free << 1 | is_free(slot));
            return Some(Scan {
                layout,
                tick,
                slots,
                free,
            });
        }
        None
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.free != 0
    }

    /// Iterates over the free slots, starting with the set that is to take the new key.
    pub(super) fn free_slots(&self) -> impl Iterator<Item = &'a Slot> {
        let (home, other) = (self.free & HOME, self.free & !HOME);
        let refilling = |free: u16| SLOTS_PER_SET as u32 - free.count_ones();
        let home_first = refilling(home) < HOME_FILL || refilling(home) <= refilling(other);
        let order = if home_first {
            [home, other]
        } else {
            [other, home]
        };
        order
            .into_iter()
            .flat_map(|set| (0..2 * SLOTS_PER_SET).filter(move |n| set >> n & 1 == 1))
            .map(|n| self.slots[n].0)
    }

    /// Returns the slot whose bucket is nearest to full, and its state at the time of the scan.
    pub(super) fn nearest_to_full(&self) -> (&'a Slot, State) {
        let refilled = |(slot, word): (&'a Slot, u64)| {
            (
                slot,
                self.layout.refill_to(self.layout.unpack(word), self.tick),
            )
        };
        let nearer = |a: (&'a Slot, State), b: (&'a Slot, State)| {
            if self.layout.full_at(b.1) < self.layout.full_at(a.1) {
                b
            } else {
                a
            }
        };
        self.slots[1..]
            .iter()
            .copied()
            .map(refilled)
            .fold(refilled(self.slots[0]), nearer)
    }
}

/// Waits until a slot is not marked busy. A mark that is too old is undone: the slot is the old key's
/// again, with its word, or with the first charge of the new key on its full bucket.
#[cold]
fn settle(slot: &Slot, waits: &Waits, counters: &Counters) {
    let mut wait = waits.wait();
    while !waits.are_over() {
        let tag = slot[TAG].load(Ordering::Acquire);
        if !tag::is_busy(tag) {
            return;
        }
        if wait.is_over(tag) {
            // Fails when the mark is gone.
            let undone = tag::undone(tag);
            if slot[TAG]
                .compare_exchange(tag, undone, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                counters.add_repair(Counter::Undone);
            }
        }
    }
}
