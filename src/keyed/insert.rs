//! A key that the table does not know yet: finding it a slot, and taking that slot over.
//!
//! One latch, the home set's, is held meanwhile, so that the same key is not inserted twice. Keys
//! of other homes may want the same slot at the same moment: the *busy* mark and the swap on the
//! word decide that.
//!
//! - The key may have come in before the latch closed, so both sets are scanned again; and while
//!   the key's own tag stands there *busy*, somebody is taking its slot over and may yet put it
//!   back: wait for that.
//! - A thread whose clock is behind may insert a key that was forgotten at a later time. So time is
//!   the largest of the request's and every stamp in the two sets: the slot that forgot the key is
//!   among them.
//! - The word is claimed and charged in one swap, from a value that is full. If the old owner
//!   charged in between, that swap fails, the old tag is put back, and the next slot is tried.

use super::{
    memory::{BUSY, Place, SET, Slot, TAG, UNUSED, WORD},
    sync::Backoff,
    table::{Table, WhenFull},
};
use crate::{
    attempt::Attempt,
    decision::{Decision, Outcome},
    state::State,
    sync::Ordering,
};

/// Below this many refilling buckets the home set takes a newcomer; from it on, the emptier of the
/// two sets does. Simulated with every key draining: at a load of 0.6 fewer than one key in a
/// million finds no room.
const HOME_FILL: u32 = SET as u32 * 3 / 4;

/// The slots of the home set, as bits; those of the other set follow.
const HOME: u16 = (1 << SET) - 1;

/// What a scan of a key's sixteen slots shows.
struct Survey<'a> {
    /// The latest time anybody has written here, or the request's.
    tick: u64,
    slots: [(&'a Slot, u64); 2 * SET],
    /// The slots that may be taken over with nothing lost, as bits.
    free: u16,
}

impl Table {
    /// Takes the tokens for a key that was not found. `None`: it is there after all, or everything
    /// moved; start over.
    #[cold]
    #[inline(never)]
    pub(super) fn insert(&self, place: &Place, request: &Attempt<'_>) -> Option<Decision> {
        let _closed = self.latches.close(place.home);
        let survey = self.survey(place, request.tick)?;
        if survey.free == 0 {
            return self.saturated(place, request, &survey);
        }
        survey.free_slots().find_map(|slot| {
            let next =
                self.take_over(slot, place.tag, survey.tick, request.units(), Allow::Free)?;
            Some(request.charged(next, request.units()))
        })
    }

    /// `None`: the key is there.
    fn survey(&self, place: &Place, now: u64) -> Option<Survey<'_>> {
        let mut candidates = self.memory.candidates(place);
        let (mut tick, mut found) = (now, false);
        let slots = std::array::from_fn(|_| {
            #[expect(clippy::expect_used, reason = "a key has two sets of SET slots")]
            let slot = candidates.next().expect("two sets");
            found |= settled_tag(slot, place.tag) == place.tag;
            let word = slot[WORD].load(Ordering::Acquire);
            tick = tick.max(self.layout.unpack(word).stamp);
            (slot, word)
        });
        let is_free = |&(_, word): &(&Slot, u64)| {
            u16::from(self.layout.is_free(self.layout.unpack(word), tick))
        };
        let free = slots
            .iter()
            .rev()
            .fold(0, |free, slot| free << 1 | is_free(slot));
        if found {
            None
        } else {
            Some(Survey { tick, slots, free })
        }
    }

    /// Makes a slot the key's, with a first charge. `None`: somebody else was faster, or the bucket
    /// may not be forgotten.
    fn take_over(
        &self,
        slot: &Slot,
        tag: u64,
        tick: u64,
        units: u64,
        allow: Allow,
    ) -> Option<State> {
        let old = slot[TAG].load(Ordering::Relaxed);
        // Acquire: the word is loaded after this; with an older one the claim would only fail. Of
        // two who want the slot, one goes on.
        if old & BUSY != 0
            || slot[TAG]
                .compare_exchange(old, old | BUSY, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return None;
        }
        let claimed = self.claim(slot, old, tick, units, allow);
        slot[TAG].store(if claimed.is_some() { tag } else { old }, Ordering::Release);
        claimed
    }

    fn claim(&self, slot: &Slot, old: u64, tick: u64, units: u64, allow: Allow) -> Option<State> {
        let word = slot[WORD].load(Ordering::Acquire);
        let state = self.layout.unpack(word);
        let next = self.layout.claim(state, tick, units, old == UNUSED)?;
        match allow {
            Allow::Free if !self.layout.is_free(state, tick) => return None,
            Allow::Free => {}
            // What the old owner is still owed back is forgotten with the rest.
            Allow::Refilling => self.bounds.evicted(old, next.stamp),
        }
        // Release: whoever reads the new word must find the tag busy, or newer. This orders the two
        // sides: an old owner who charged first makes it fail; one who comes later fails.
        let claim = slot[WORD].compare_exchange(
            word,
            self.layout.pack(next),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        claim.is_ok().then_some(next)
    }

    /// All sixteen are refilling.
    fn saturated(
        &self,
        place: &Place,
        request: &Attempt<'_>,
        survey: &Survey<'_>,
    ) -> Option<Decision> {
        let (slot, settled) = self.nearest_to_full(survey);
        let at_end_of_time = self
            .layout
            .claim(settled, survey.tick, request.units(), false)
            .is_none();
        if self.when_full == WhenFull::RefuseNewcomer || at_end_of_time {
            self.saturated.fetch_add(1, Ordering::Relaxed);
            return Some(request.uncharged(settled, Outcome::TableFull));
        }
        let next = self.take_over(
            slot,
            place.tag,
            survey.tick,
            request.units(),
            Allow::Refilling,
        )?;
        self.evicted_early.fetch_add(1, Ordering::Relaxed);
        Some(request.charged(next, request.units()))
    }

    fn nearest_to_full<'a>(&self, survey: &Survey<'a>) -> (&'a Slot, State) {
        let settled = |(slot, word): (&'a Slot, u64)| {
            (
                slot,
                self.layout.refill_to(self.layout.unpack(word), survey.tick),
            )
        };
        let nearer = |a: (&'a Slot, State), b: (&'a Slot, State)| {
            if self.layout.full_at(b.1) < self.layout.full_at(a.1) {
                b
            } else {
                a
            }
        };
        survey.slots[1..]
            .iter()
            .copied()
            .map(settled)
            .fold(settled(survey.slots[0]), nearer)
    }
}

/// Which buckets may be forgotten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allow {
    Free,
    Refilling,
}

impl<'a> Survey<'a> {
    /// The free slots, those of the set that shall take the newcomer first.
    fn free_slots(&self) -> impl Iterator<Item = &'a Slot> {
        let (home, other) = (self.free & HOME, self.free & !HOME);
        let refilling = |free: u16| SET as u32 - free.count_ones();
        let home_first = refilling(home) < HOME_FILL || refilling(home) <= refilling(other);
        let order = if home_first {
            [home, other]
        } else {
            [other, home]
        };
        order
            .into_iter()
            .flat_map(|set| (0..2 * SET).filter(move |n| set >> n & 1 == 1))
            .map(|n| self.slots[n].0)
    }
}

/// A tag, once it is no longer our own about to be taken away.
fn settled_tag(slot: &Slot, own: u64) -> u64 {
    let backoff = Backoff::default();
    loop {
        let tag = slot[TAG].load(Ordering::Acquire);
        if tag != own | BUSY {
            return tag;
        }
        backoff.wait();
    }
}
