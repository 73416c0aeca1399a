//! The fixed table: decisions on keys it knows, without a lock.
//!
//! A slot whose bucket has refilled is equal to a fresh one, so another key may take it over with
//! nothing lost. What keeps the two apart is the order of three steps on either side:
//!
//! - **Hit** (here): find the tag; load the word; *then* confirm the tag; decide; swap that very
//!   word. Nothing is checked after the swap: stamps never go back, and a change of owner moves the
//!   stamp forward, so a word is its own version, and a swap that succeeds proves that the slot was
//!   still ours. Anything else: start over.
//! - **Insert** ([`insert`](super::insert)): under a latch, mark the tag *busy*; claim and charge
//!   in one swap on the word, from a value that is full; publish the new tag.
//!
//! Orderings: the claiming swap releases the busy tag, and every later charge continues its release
//! sequence. So whoever loads the word of the new owner (acquire) sees, in the tag loaded after it,
//! at least *busy*, and starts over.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::{
    bounds::Bounds,
    latch::Latches,
    memory::{Memory, Place, SET, Slot, TAG, WORD},
    sync::Backoff,
};
use crate::{
    attempt::{Attempt, Transition},
    clock::Time,
    decision::Decision,
    holes::{Hole, Holes},
    quota::Quota,
    state::{Layout, State},
    sync::{AtomicU64, Ordering},
};

/// What happens to a new key for which there is no room: all sixteen slots it may stand in belong
/// to buckets that are still refilling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The bucket closest to full is forgotten, early, and counted in
    /// [`KeyedStats::evicted_early`](crate::KeyedStats). A key that is throttled hard is the last to be
    /// forgotten.
    #[default]
    EvictNearestToFull,
    /// The newcomer is refused, with [`Outcome::TableFull`](crate::Outcome::TableFull), and counted
    /// in [`KeyedStats::saturated`](crate::KeyedStats).
    RefuseNewcomer,
}

/// Holes are looked for one by one, by those who would wait. Loom is given few, to look at fewer
/// words.
const HOLES: usize = if cfg!(tollgate_loom) { 2 } else { 32 };

#[derive(Debug)]
pub(super) struct Table {
    pub(super) layout: Layout,
    pub(super) memory: Memory,
    pub(super) latches: Latches,
    pub(super) when_full: WhenFull,
    pub(super) bounds: Bounds,
    /// Of all keys.
    holes: Holes<HOLES>,
    pub(super) evicted_early: CachePadded<AtomicU64>,
    pub(super) saturated: CachePadded<AtomicU64>,
}

impl Table {
    /// A table of full buckets; `None` when there is no such memory.
    pub(super) fn new(quota: &Quota, sets: usize, when_full: WhenFull) -> Option<Table> {
        let counter = || CachePadded::new(AtomicU64::new(0));
        Some(Table {
            layout: quota.layout(),
            memory: Memory::new(sets)?,
            latches: Latches::new(sets),
            when_full,
            bounds: Bounds::new(sets),
            holes: Holes::new(),
            evicted_early: counter(),
            saturated: counter(),
        })
    }

    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        self.memory.place(hash)
    }

    /// Starts to load what a decision on this key will look at first.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        // A plain load of the first slot: the processor does not wait for a value that nobody uses
        // yet.
        std::hint::black_box(self.memory.home_line(hash)[0][TAG].load(Ordering::Relaxed));
    }

    /// Decides, if the key is there and nobody else changes its bucket at this moment. `None`:
    /// nothing was done.
    #[inline(always)]
    pub(super) fn hit(&self, hash: u64, time: Time<'_>, cost: u32) -> Option<Decision> {
        let tag = Memory::tag(hash);
        let slot = match find_in(self.memory.home_line(hash), tag) {
            Some(slot) => slot,
            None => self.find_further(&self.place(hash))?,
        };
        // The clock is read while the slot is on its way from memory.
        self.decide_on(
            slot,
            tag,
            &Attempt::immediate(&self.layout, time.nanos(), cost),
        )
    }

    pub(super) fn decide(&self, place: &Place, request: &Attempt<'_>) -> Decision {
        let backoff = Backoff::default();
        loop {
            if let Some(slot) = self.find(place) {
                if let Some(decision) = self.decide_on(slot, place.tag, request) {
                    return decision;
                }
            } else if let Some(decision) = request.decide_without_charge() {
                // Nothing to write: no reason to take up room.
                return decision;
            } else if let Some(decision) = self.insert(place, request) {
                return decision;
            } else {
                // The slot we wanted may be about to change hands: whoever has marked it busy must
                // come to an end.
                backoff.wait();
            }
        }
    }

    /// `None`: the slot is no longer ours, or the word has changed.
    #[inline(always)]
    fn decide_on(&self, slot: &Slot, tag: u64, request: &Attempt<'_>) -> Option<Decision> {
        let word = self.confirmed_word(slot, tag)?;
        match request.transition(word) {
            Transition::Write(next, charged) => self
                .swap(slot, word, next)
                .then(|| request.charged(self.layout.unpack(next), charged)),
            Transition::Unchanged(settled, outcome) => {
                Some(request.uncharged(self.layout.unpack(settled), outcome))
            }
        }
    }

    /// Undoes a decision; see [`Bucket::refund`](crate::Bucket::refund).
    pub(super) fn refund(&self, place: &Place, decision: Decision) -> bool {
        let (sold, charged) = decision.charge();
        let owed = || self.is_owed(place, sold.stamp);
        let given = self.update(place, |state| {
            if owed() {
                self.layout.refund(state, sold, charged)
            } else {
                None
            }
        });
        given || (owed() && self.leave(place, sold, charged))
    }

    /// Leaves a hole in the key's queue, and says whether it can still be sold.
    fn leave(&self, place: &Place, sold: State, charged: u64) -> bool {
        let Some(word) = self
            .find(place)
            .and_then(|slot| self.confirmed_word(slot, place.tag))
        else {
            return false;
        };
        let state = self.layout.unpack(word);
        let hole = self.layout.hole(state, sold, charged);
        if let Some(hole) = hole {
            self.holes
                .add(place.tag, hole, self.layout.position(state.stamp));
        }
        hole.is_some()
    }

    /// Decides for one who would wait: in a hole that somebody has left, or at the end.
    pub(super) fn queue(&self, place: &Place, request: &Attempt<'_>) -> Decision {
        let sell = |hole: Hole| {
            let sold = Cell::new(None);
            self.update(place, |state| {
                let (next, now_sold) = request
                    .resell(state, hole)
                    .filter(|_| self.is_owed(place, hole.stamp))?;
                sold.set(Some(now_sold));
                Some(next)
            })
            .then_some(sold.get())
            .flatten()
        };
        self.holes
            .sell(place.tag, request, sell)
            .unwrap_or_else(|| self.decide(place, request))
    }

    /// Makes the key's bucket full.
    pub(super) fn reset(&self, place: &Place, now_nanos: u64) {
        let tick = self.layout.tick(now_nanos);
        self.update(place, |state| {
            let (full, counts_from) = self.layout.reset(state, tick);
            self.bounds.reset(place.tag, counts_from);
            Some(full)
        });
    }

    /// Whether a charge that left this stamp still counts: no reset has come since.
    pub(super) fn counts(&self, place: &Place, stamp: u64) -> bool {
        !self.bounds.is_reset(place.tag, stamp)
    }

    /// Whether its key was not forgotten early, either.
    fn is_owed(&self, place: &Place, stamp: u64) -> bool {
        self.counts(place, stamp) && !self.bounds.is_evicted(place.tag, stamp)
    }

    /// Buckets that are not full at this time.
    pub(super) fn live(&self, now_nanos: u64) -> usize {
        let tick = self.layout.tick(now_nanos);
        let words = self
            .memory
            .all()
            .iter()
            .map(|slot| slot[WORD].load(Ordering::Relaxed));
        words
            .filter(|&word| self.layout.refill_to(self.layout.unpack(word), tick).spent > 0)
            .count()
    }

    pub(super) fn slots(&self) -> usize {
        self.memory.sets() * SET
    }

    /// Applies `transition` to the key's word until it takes, or declines, or the key is not there;
    /// says whether it took.
    fn update(&self, place: &Place, transition: impl Fn(State) -> Option<State>) -> bool {
        while let Some(slot) = self.find(place) {
            let Some(word) = self.confirmed_word(slot, place.tag) else {
                continue;
            };
            match transition(self.layout.unpack(word)) {
                None => return false,
                Some(next) if self.swap(slot, word, self.layout.pack(next)) => return true,
                Some(_) => {}
            }
        }
        false
    }

    fn find(&self, place: &Place) -> Option<&Slot> {
        self.memory
            .candidates(place)
            .find(|slot| slot[TAG].load(Ordering::Acquire) == place.tag)
    }

    /// Behind the line that [`Table::hit`] has looked at.
    #[inline(never)]
    fn find_further(&self, place: &Place) -> Option<&Slot> {
        self.memory
            .further_candidates(place)
            .find(|slot| slot[TAG].load(Ordering::Acquire) == place.tag)
    }

    /// The word of a slot whose tag was still `tag` after the word was loaded.
    #[inline]
    fn confirmed_word(&self, slot: &Slot, tag: u64) -> Option<u64> {
        let word = slot[WORD].load(Ordering::Acquire);
        (slot[TAG].load(Ordering::Acquire) == tag).then_some(word)
    }

    #[inline]
    fn swap(&self, slot: &Slot, word: u64, next: u64) -> bool {
        // Release, so that a word shows the bound on refunds that was raised before it.
        slot[WORD]
            .compare_exchange(word, next, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }
}

/// The slot of a line that has this tag. All are looked at, since where a key stands in its line
/// cannot be predicted: a wrong guess costs more than three comparisons.
#[inline(always)]
fn find_in(line: &[Slot], tag: u64) -> Option<&Slot> {
    let has_tag =
        |(n, slot): (usize, &Slot)| u32::from(slot[TAG].load(Ordering::Acquire) == tag) << n;
    let found = line
        .iter()
        .enumerate()
        .map(has_tag)
        .fold(0, |found, bit| found | bit);
    line.get(found.trailing_zeros() as usize)
}
