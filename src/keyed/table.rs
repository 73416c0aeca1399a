//! Table of buckets: fixed in size, set-associative, without a lock for keys that it holds.
//!
//! A slot whose bucket has refilled is equal to a fresh one, so another key may take it over
//! without losing state. The order of three steps on either side keeps the two keys apart:
//!
//! - **Hit** ([`Table::hit`]): find the tag; load the word; *then* confirm the tag; decide; swap
//!   that very word by CAS. Nothing is checked after the CAS: stamps never decrease, and a takeover
//!   increases the stamp, so a word is its own version, and a CAS that succeeds proves that the
//!   slot still belonged to the key. In any other case, start over.
//! - **Insert** ([`Table::insert`]): under a latch, mark the tag *busy*; validate that the latch is
//!   still held; claim and charge in one CAS on the word, from a value that is full; publish the new
//!   tag by CAS.
//!
//! Orderings: the claiming CAS releases the busy tag, and every later charge continues its release
//! sequence. So a thread that loads the word of the new owner (acquire) sees, in the tag loaded
//! after it, at least *busy*, and starts over.
//!
//! **Insert in detail.** The latch of the home set is held throughout, so that the same key is not
//! inserted twice. Keys of other home sets may want the same slot at the same moment: the *busy*
//! mark and the CAS on the word decide between them.
//!
//! - The key may have been inserted before the latch was closed, so both sets are scanned again.
//!   While a tag is marked *busy*, another key is taking that slot over and may yet publish or restore
//!   the key's own tag: the scan waits for that.
//! - A thread whose clock is behind may insert a key that was evicted at a later time. So the time
//!   of the insert is the latest of the attempt's and every stamp in the two sets: the slot from
//!   which the key was evicted is among them.
//! - The word is claimed and charged in one CAS, from a value that is full. If the old owner has
//!   charged in between, that CAS fails, the old tag is restored, and the next slot is tried.
//!
//! **Threads that stop.** A thread may die or stop at any step, with a latch or a mark. Nothing tells
//! which, so after some time ([`Patience`]) another thread takes the latch and undoes the mark, and the
//! thread, if it goes on, finds that out and starts over:
//!
//! - Holders of a latch validate it after each mark. If a holder validated before its latch was taken,
//!   later holders see the mark, whichever key it is for, and undo it or find the new tag. Otherwise
//!   the holder notices. So no key has two slots.
//! - A mark that was undone never comes back: its [version](super::tag) has changed. So publishing by
//!   CAS cannot end the takeover of another thread. A claim whose tag was not published is no decision.
//! - What was claimed and not published is a charge on the old key's full bucket.
//! - No thread waits while it has a mark.

#[cfg(feature = "shared")]
use super::shared::{Shared, TableFile};
use super::{
    counters::{Counter, Counters},
    invalidation::Invalidations,
    latch::{Latches, Ticket},
    patience::{Patience, Waits},
    scan::Scan,
    sections::Sections,
    sets::{Probe, SLOTS_PER_SET, Sets, Slot, TAG, WORD},
    tag,
};
use crate::{
    attempt::{Attempt, Transition},
    clock::Time,
    decision::{Decision, DecisionView, Outcome},
    quota::Quota,
    state::{Layout, State},
    sync::{AtomicU64, Ordering, unmodelled::AtomicU64 as AtomicNumber},
};
#[cfg(feature = "shared")]
use crate::{clock::Clock, sync::Arc};

/// Policy for a new key that finds no free slot: all sixteen slots it may take belong to buckets
/// that are still refilling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Evicts the bucket nearest to full, early, and counts it in
    /// [`KeyedStats::evicted_early`](crate::KeyedStats). Heavily throttled keys are evicted last.
    #[default]
    EvictNearestToFull,
    /// Refuses the new key, with [`Outcome::TableFull`](crate::Outcome::TableFull), and counts it
    /// in [`KeyedStats::saturated`](crate::KeyedStats).
    RefuseNewcomer,
}

/// Buckets that a takeover may evict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Full,
    Refilling,
}

/// Result of a takeover.
enum Takeover {
    /// The first charge of the new key left this state.
    Done(State),
    /// Another thread took the slot first, or the bucket may not be evicted.
    Lost,
    /// Another thread took the latch, or undid the mark.
    Undone,
}

/// Next number of a table: unique in the process.
static NEXT_NUMBER: AtomicNumber = AtomicNumber::new(0);

#[derive(Debug)]
pub(crate) struct Table {
    pub(super) number: u64,
    pub(super) layout: Layout,
    pub(super) sets: Sets,
    latches: Latches,
    pub(super) patience: Patience,
    pub(super) when_full: WhenFull,
    invalidations: Invalidations,
    pub(super) counters: Counters,
    /// Files of the table, if several processes share it.
    #[cfg(feature = "shared")]
    shared: Option<Arc<Shared>>,
    /// Number of its file; 0: it has none.
    #[cfg(feature = "shared")]
    pub(super) file_number: u32,
}

/// Bit of the numbers of tables that several processes share, which come after all others in the order
/// of limits that a request takes from.
#[cfg(feature = "shared")]
const SHARED_NUMBER: u64 = 1 << 63;

impl Table {
    /// Allocates a table of full buckets. Returns `None` when the allocation fails.
    pub(super) fn new(
        quota: &Quota,
        sets: usize,
        when_full: WhenFull,
        patience: Patience,
    ) -> Option<Table> {
        let memory = Sections::on_heap(sets)?;
        Some(Table {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            layout: quota.layout(),
            sets: Sets::new(memory.slots, sets),
            latches: Latches::new(memory.latches),
            patience,
            when_full,
            invalidations: Invalidations::new(memory.invalidations),
            counters: Counters::new(memory.counters),
            #[cfg(feature = "shared")]
            shared: None,
            #[cfg(feature = "shared")]
            file_number: 0,
        })
    }

    /// Creates the table of a mapped file.
    #[cfg(feature = "shared")]
    pub(super) fn in_file(file: TableFile, shared: Arc<Shared>, when_full: WhenFull) -> Table {
        // Another one for each table: two limiters may have two tables of one file for a moment.
        let number = SHARED_NUMBER | shared.id().wrapping_add(file.number);
        Table {
            shared: Some(shared),
            ..Table::of_file(file, number, when_full)
        }
    }

    /// Creates the table of a rule, in a mapped file.
    #[cfg(feature = "shared")]
    pub(super) fn of_rule(file: TableFile, shared: &Shared) -> Table {
        // A number that is the same in all processes, and another one than those of other tables.
        let number = shared.id() ^ file.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Table::of_file(file, SHARED_NUMBER | number, WhenFull::default())
    }

    #[cfg(feature = "shared")]
    fn of_file(file: TableFile, number: u64, when_full: WhenFull) -> Table {
        let memory = file.sections;
        Table {
            number,
            layout: file.quota.layout(),
            sets: Sets::new(memory.slots, file.sets),
            latches: Latches::new(memory.latches),
            patience: Patience::Limited,
            when_full,
            invalidations: Invalidations::new(memory.invalidations),
            counters: Counters::new(memory.counters),
            shared: None,
            // Numbers of tables are those of the control file, which has 32 bits for them.
            file_number: file.number as u32,
        }
    }

    /// Files of the table, if several processes share it.
    #[cfg(feature = "shared")]
    #[inline]
    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        #[cfg(feature = "shared")]
        let is_shared = self.shared.is_some();
        #[cfg(not(feature = "shared"))]
        let is_shared = false;
        is_shared
    }

    /// Undoes what threads left that died, and what no thread writes: stamps that are still ahead, and more
    /// tokens taken than there are. No other thread may use the table: stamps never decrease otherwise.
    #[cfg(feature = "shared")]
    pub(super) fn repair(&self, clock: &Clock) {
        self.latches.open_all();
        for slot in self.sets.all_slots() {
            let tag = slot[TAG].load(Ordering::Acquire);
            if tag::is_busy(tag) {
                let undone = tag::undone(tag);
                let _ =
                    slot[TAG].compare_exchange(tag, undone, Ordering::AcqRel, Ordering::Relaxed);
            }
            let word = slot[WORD].load(Ordering::Acquire);
            let repaired = self.layout.repair(word, self.layout.tick(clock.nanos()));
            if repaired != word {
                let _ = slot[WORD].compare_exchange(
                    word,
                    repaired,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
        }
    }

    #[inline]
    pub(super) fn probe(&self, hash: u64) -> Probe {
        self.sets.probe(hash)
    }

    /// Prefetches the home line of a key, which a decision reads first.
    #[inline]
    pub(super) fn prefetch(home_line: &[Slot]) {
        // A plain load of the first slot: the processor does not stall on a value that is not used
        // yet.
        std::hint::black_box(home_line[0][TAG].load(Ordering::Relaxed));
    }

    /// Fast path: decides if the key is present, its tag in the first version, and no other thread
    /// changes its bucket at this moment. Returns `None`, with no effect, in any other case.
    #[inline(always)]
    pub(super) fn hit(&self, hash: u64, time: Time<'_>, cost: u32) -> Option<Decision> {
        let tag = tag::of(hash);
        let slot = match find_in(self.sets.home_line(hash), tag) {
            Some(slot) => slot,
            None => self.find_further(&self.probe(hash))?,
        };
        // The clock is read while the slot is being loaded from memory.
        self.decide_on(
            slot,
            tag,
            &Attempt::immediate(&self.layout, time.nanos(), cost),
        )
    }

    /// Returns a key's word and its value, if the key is present. A CAS from this value changes no
    /// other key's bucket, whenever it comes: a takeover would have increased the stamp.
    #[inline(always)]
    pub(super) fn word<'h>(
        &'h self,
        hash: u64,
        home_line: &'h [Slot],
    ) -> Option<(&'h AtomicU64, u64)> {
        let tag = tag::of(hash);
        if let Some(slot) = find_in(home_line, tag)
            && let Some(word) = self.confirmed_word(slot, tag)
        {
            return Some((&slot[WORD], word));
        }
        self.word_of(&self.probe(hash))
    }

    /// See [`Table::word`].
    #[inline(never)]
    pub(super) fn word_of(&self, probe: &Probe) -> Option<(&AtomicU64, u64)> {
        loop {
            let (slot, tag) = self.find(probe)?;
            if let Some(word) = self.confirmed_word(slot, tag) {
                return Some((&slot[WORD], word));
            }
        }
    }

    /// Decides for any key: inserts a key that is not present.
    pub(super) fn decide(&self, probe: &Probe, attempt: &Attempt<'_>) -> Decision {
        let waits = Waits::new(self.patience);
        loop {
            if let Some((slot, tag)) = self.find(probe) {
                if let Some(decision) = self.decide_on(slot, tag, attempt) {
                    return decision;
                }
            } else if let Some(decision) = attempt.decide_without_charge() {
                // Nothing to write, so the key needs no slot.
                return decision;
            } else if waits.are_over() {
                let empty = State {
                    spent: self.layout.capacity,
                    stamp: attempt.tick,
                };
                return self.refuse(attempt, empty);
            } else if let Some(decision) = self.insert(probe, attempt, &waits) {
                return decision;
            } else {
                // Another thread may be taking over the slot this key needs: the thread that marked
                // it busy must finish first.
                waits.start_over();
            }
        }
    }

    /// Decides on a slot. Returns `None` if the slot has another owner, or if its word has changed.
    #[inline(always)]
    fn decide_on(&self, slot: &Slot, tag: u64, attempt: &Attempt<'_>) -> Option<Decision> {
        let word = self.confirmed_word(slot, tag)?;
        match attempt.transition(word) {
            Transition::Write(next, charged) => self
                .swap(slot, word, next)
                .then(|| attempt.charged(self.layout.unpack(next), charged)),
            Transition::Unchanged(refilled, outcome) => {
                Some(attempt.uncharged(self.layout.unpack(refilled), outcome))
            }
        }
    }

    /// Decides for a key that was not found. Returns `None`, to start over, if the key is present
    /// after all, or if other threads took the free slots.
    #[cold]
    #[inline(never)]
    fn insert(&self, probe: &Probe, attempt: &Attempt<'_>, waits: &Waits) -> Option<Decision> {
        #[cfg(feature = "shared")]
        if let Some(shared) = &self.shared {
            shared.note_times();
        }
        let counters = &self.counters;
        let ticket = self.latches.close(probe.home, waits, counters)?;
        let scan = Scan::new(
            &self.layout,
            &self.sets,
            probe,
            attempt.tick,
            waits,
            counters,
        )?;
        if !scan.has_free_slot() {
            return self.insert_when_full(probe, attempt, &scan, &ticket);
        }
        let charge = (scan.tick, attempt.units());
        for slot in scan.free_slots() {
            match self.take_over(slot, probe.tag, &ticket, charge, Victim::Full) {
                Takeover::Done(next) => return Some(attempt.charged(next, attempt.units())),
                Takeover::Lost => {}
                Takeover::Undone => return None,
            }
        }
        None
    }

    /// Decides for a new key while all of its sixteen slots are refilling.
    fn insert_when_full(
        &self,
        probe: &Probe,
        attempt: &Attempt<'_>,
        scan: &Scan<'_>,
        ticket: &Ticket<'_>,
    ) -> Option<Decision> {
        let (slot, refilled) = scan.nearest_to_full();
        let at_end_of_time = self
            .layout
            .claim(refilled, scan.tick, attempt.units(), false)
            .is_none();
        if self.when_full == WhenFull::RefuseNewcomer || at_end_of_time {
            return Some(self.refuse(attempt, refilled));
        }
        let charge = (scan.tick, attempt.units());
        match self.take_over(slot, probe.tag, ticket, charge, Victim::Refilling) {
            Takeover::Done(next) => Some(attempt.charged(next, attempt.units())),
            Takeover::Lost | Takeover::Undone => None,
        }
    }

    /// Refuses a new key for which the table has no slot.
    #[cold]
    fn refuse(&self, attempt: &Attempt<'_>, state: State) -> Decision {
        self.counters.add(Counter::Saturated);
        attempt.uncharged(state, Outcome::TableFull)
    }

    /// Takes a slot over for the key, with a first charge of so many units at a tick.
    fn take_over(
        &self,
        slot: &Slot,
        tag: u64,
        ticket: &Ticket<'_>,
        charge: (u64, u64),
        victim: Victim,
    ) -> Takeover {
        let old = slot[TAG].load(Ordering::Relaxed);
        let busy = tag::busy(old);
        let mark = |from: u64, to: u64, success: Ordering| {
            slot[TAG]
                .compare_exchange(from, to, success, Ordering::Relaxed)
                .is_ok()
        };
        // Acquire: the word is loaded after this. With an older word the claim would only fail.
        // Among threads that want the slot, one succeeds.
        if tag::is_busy(old) || !mark(old, busy, Ordering::AcqRel) {
            return Takeover::Lost;
        }
        if !ticket.is_valid() {
            mark(busy, old, Ordering::Release);
            self.counters.add_repair(Counter::Fenced);
            return Takeover::Undone;
        }
        let evicts = victim == Victim::Refilling;
        if evicts {
            // Before the claim, so that an eviction by a thread that dies is counted.
            self.counters.add(Counter::EvictedEarly);
        }
        let claimed = self.claim(slot, old, charge, victim);
        if evicts && claimed.is_none() {
            self.counters.subtract(Counter::EvictedEarly);
        }
        let published = claimed.map_or(old, |_| tag::in_version_of(tag, old));
        if !mark(busy, published, Ordering::Release) {
            self.counters.add_repair(Counter::Fenced);
            return Takeover::Undone;
        }
        claimed.map_or(Takeover::Lost, Takeover::Done)
    }

    /// Claims and charges the word of a slot whose tag `old` is marked busy.
    fn claim(
        &self,
        slot: &Slot,
        old: u64,
        (tick, units): (u64, u64),
        victim: Victim,
    ) -> Option<State> {
        let word = slot[WORD].load(Ordering::Acquire);
        let state = self.layout.unpack(word);
        let next = self.layout.claim(state, tick, units, tag::is_unused(old))?;
        match victim {
            Victim::Full if !self.layout.is_free(state, tick) => return None,
            Victim::Full => {}
            // Tokens still refundable to the old owner are lost with the rest of its bucket.
            Victim::Refilling => self.invalidations.evict(old, next.stamp),
        }
        // Release: a thread that reads the new word must find the tag busy, or newer. This CAS
        // orders the two sides: a charge by the old owner that comes first makes it fail; one that
        // comes later fails.
        let claim = slot[WORD].compare_exchange(
            word,
            self.layout.pack(next),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        claim.is_ok().then_some(next)
    }

    /// Undoes a decision. See [`Bucket::refund`](crate::Bucket::refund).
    pub(super) fn refund(&self, probe: &Probe, decision: &DecisionView) -> bool {
        let (sold, charged) = decision.charge();
        self.update(probe, |state| {
            if self.is_refundable(probe, sold.stamp) {
                self.layout.refund(state, sold, charged)
            } else {
                None
            }
        })
    }

    /// Refills the key's bucket.
    pub(super) fn reset(&self, probe: &Probe, now_nanos: u64) {
        let tick = self.layout.tick(now_nanos);
        self.update(probe, |state| {
            let (full, counts_from) = self.layout.reset(state, tick);
            self.invalidations.reset(probe.tag, counts_from);
            Some(full)
        });
    }

    /// Returns true when the charge with this stamp is valid: no reset has come since.
    pub(super) fn counts(&self, probe: &Probe, stamp: u64) -> bool {
        !self.invalidations.is_reset(probe.tag, stamp)
    }

    /// Returns true when the charge with this stamp is refundable: no reset and no early eviction
    /// of its key has come since.
    fn is_refundable(&self, probe: &Probe, stamp: u64) -> bool {
        self.counts(probe, stamp) && !self.invalidations.is_evicted(probe.tag, stamp)
    }

    /// Returns the number of buckets that are not full at this time.
    pub(super) fn live(&self, now_nanos: u64) -> usize {
        let tick = self.layout.tick(now_nanos);
        let words = self
            .sets
            .all_slots()
            .iter()
            .map(|slot| slot[WORD].load(Ordering::Relaxed));
        words
            .filter(|&word| self.layout.refill_to(self.layout.unpack(word), tick).spent > 0)
            .count()
    }

    pub(super) fn slots(&self) -> usize {
        self.sets.count() * SLOTS_PER_SET
    }

    /// Applies `transition` to the key's word in a CAS loop. Ends without a change when
    /// `transition` returns `None` or the key is not present. Returns true when the word was
    /// changed.
    fn update(&self, probe: &Probe, transition: impl Fn(State) -> Option<State>) -> bool {
        while let Some((slot, tag)) = self.find(probe) {
            let Some(word) = self.confirmed_word(slot, tag) else {
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

    /// Finds the key's slot, and its tag in whichever version.
    fn find(&self, probe: &Probe) -> Option<(&Slot, u64)> {
        self.sets.candidates(probe).find_map(|slot| {
            let tag = slot[TAG].load(Ordering::Acquire);
            tag::is_of(tag, probe.tag).then_some((slot, tag))
        })
    }

    /// Finds the key's slot outside of its home line, which [`Table::hit`] has searched, if its tag is
    /// in the first version.
    #[inline(never)]
    fn find_further(&self, probe: &Probe) -> Option<&Slot> {
        self.sets
            .further_candidates(probe)
            .find(|slot| slot[TAG].load(Ordering::Acquire) == probe.tag)
    }

    /// Returns the word of a slot if its tag was still `tag` after the word was loaded.
    #[inline]
    fn confirmed_word(&self, slot: &Slot, tag: u64) -> Option<u64> {
        let word = slot[WORD].load(Ordering::Acquire);
        (slot[TAG].load(Ordering::Acquire) == tag).then_some(word)
    }

    #[inline]
    fn swap(&self, slot: &Slot, word: u64, next: u64) -> bool {
        // Release, so that a thread that reads the word sees the invalidation raised before it.
        slot[WORD]
            .compare_exchange(word, next, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }
}

/// Returns the slot of a line that has exactly this tag. A key whose tag is not in its first version, as
/// after a takeover that was undone, is found by [`Table::find`]. All slots are compared, since the position of a
/// key in its line is unpredictable: a mispredicted branch costs more than three comparisons.
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
