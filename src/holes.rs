//! Places in the queue whose owners have left, to be sold again.
//!
//! One who leaves from the middle of a queue cannot give tokens back: pulling the end of the queue
//! forward would sell the time of somebody behind twice. But his very interval may go to a newcomer
//! whom it fits, who is then served earlier than at the end. A word has no room for holes, so a few
//! are kept beside it. Whoever finds the store in use goes on without it, so nobody waits here; a
//! hole that finds no room lapses, and is never sold twice.
//!
//! **Why a hole is still nobody's when it is sold.** The end of what is sold is pulled back over an
//! interval only when its owner is last in the queue, or when nobody waits (see
//! `state`). While the interval's use lies ahead of the word's stamp, somebody has
//! waited ever since, and whoever was behind is not last. So a sale swaps a word for which that
//! holds: [`Layout::resell`].

use crate::{
    attempt::Attempt,
    decision::Decision,
    state::{Layout, State},
    sync::{AtomicU64, Ordering, array_of, const_fn},
};

/// An interval on the axis of units that was charged, and is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The stamp of the charge: a reset since then makes the hole void.
    pub(crate) stamp: u64,
}

/// A hole, or part of one, with its new owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resold {
    /// As if it had just been charged: what was sold ends at the end of this.
    pub(crate) charge: State,
    /// Units that were sold behind it.
    pub(crate) behind: u64,
}

/// Room for `N` holes, each with a number that says whose they are.
#[derive(Debug)]
pub(crate) struct Holes<const N: usize> {
    in_use: AtomicU64,
    count: AtomicU64,
    entries: [Entry; N],
}

/// Read and written only by who has the store. A hole of no length is room.
#[derive(Debug)]
struct Entry {
    owner: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    stamp: AtomicU64,
}

impl Entry {
    const_fn! {
        const fn new() -> Entry {
            Entry { owner: AtomicU64::new(0), start: AtomicU64::new(0), end: AtomicU64::new(0), stamp: AtomicU64::new(0) }
        }
    }

    fn hole(&self) -> Hole {
        let load = |field: &AtomicU64| field.load(Ordering::Relaxed);
        Hole {
            start: load(&self.start),
            end: load(&self.end),
            stamp: load(&self.stamp),
        }
    }

    fn fill(&self, owner: u64, hole: Hole) {
        self.owner.store(owner, Ordering::Relaxed);
        self.start.store(hole.start, Ordering::Relaxed);
        self.end.store(hole.end, Ordering::Relaxed);
        self.stamp.store(hole.stamp, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.fill(
            0,
            Hole {
                start: 0,
                end: 0,
                stamp: 0,
            },
        );
    }
}

impl<const N: usize> Holes<N> {
    const_fn! {
        pub(crate) const fn new() -> Holes<N> {
            Holes { in_use: AtomicU64::new(0), count: AtomicU64::new(0), entries: array_of!(Entry::new(); N) }
        }
    }

    /// Whether there is nothing to look for. May be behind: a hole is an offer, not a promise.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Keeps a hole, if there is room; `now` on the same axis tells which have lapsed.
    pub(crate) fn add(&self, owner: u64, hole: Hole, now: u64) {
        self.try_exclusive(|entries| {
            if let Some(entry) = entries.iter().find(|entry| entry.hole().end <= now) {
                entry.fill(owner, hole);
            }
        });
    }

    /// Takes the earliest of the owner's holes that has room for `units` from `now` on. It is then
    /// nobody else's.
    pub(crate) fn take(&self, owner: u64, units: u64, now: u64) -> Option<Hole> {
        self.try_exclusive(|entries| {
            let fits = |entry: &&Entry| {
                let hole = entry.hole();
                entry.owner.load(Ordering::Relaxed) == owner
                    && hole.end.saturating_sub(hole.start.max(now)) >= units
            };
            let entry = entries
                .iter()
                .filter(fits)
                .min_by_key(|entry| entry.hole().start)?;
            let hole = entry.hole();
            entry.clear();
            Some(hole)
        })
        .flatten()
    }

    /// Sells a hole to a newcomer, where there is one that fits: `swap` changes the word and says
    /// what was sold.
    pub(crate) fn sell(
        &self,
        owner: u64,
        attempt: &Attempt<'_>,
        swap: impl FnOnce(Hole) -> Option<Resold>,
    ) -> Option<Decision> {
        if self.is_empty() || attempt.cost == 0 {
            return None;
        }
        let now = attempt.layout.position(attempt.tick);
        let hole = self.take(owner, attempt.units(), now)?;
        let sold = swap(hole);
        // What is left; all of it, when it was not soon enough for this newcomer.
        let rest = Hole {
            start: sold.map_or(hole.start, |sold| attempt.layout.end(sold.charge)),
            ..hole
        };
        if rest.start < rest.end {
            self.add(owner, rest, now);
        }
        sold.map(|sold| {
            attempt
                .charged(sold.charge, attempt.units())
                .with_behind(sold.behind)
        })
    }

    /// `None`: the store is in use.
    fn try_exclusive<T>(&self, work: impl FnOnce(&[Entry; N]) -> T) -> Option<T> {
        self.in_use
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let result = work(&self.entries);
        let count = self
            .entries
            .iter()
            .filter(|entry| entry.hole().end > 0)
            .count() as u64;
        self.count.store(count, Ordering::Relaxed);
        self.in_use.store(0, Ordering::Release);
        Some(result)
    }
}

impl Attempt<'_> {
    /// Sells part of a hole; see [`Layout::resell`].
    pub(crate) fn resell(&self, state: State, hole: Hole) -> Option<(State, Resold)> {
        self.layout
            .resell(state, hole, self.tick, self.units(), self.latest?)
    }
}

impl Layout {
    /// The hole that is left by the charge of `charged` units that left `sold`, if it can be sold
    /// again: of a greedy quota, and not to be used before the word's stamp.
    pub(crate) fn hole(&self, state: State, sold: State, charged: u64) -> Option<Hole> {
        let end = self.end(sold);
        let hole = Hole {
            start: end.checked_sub(charged)?,
            end,
            stamp: sold.stamp,
        };
        (charged > 0 && self.lies_ahead(state, hole)).then_some(hole)
    }

    /// Sells `units` of a hole at tick `now`, ready at tick `latest` at the latest. The successor
    /// of `state` says the same, as of now, and to write it proves that the hole was nobody's.
    /// `None`: it is too late for the hole, or for who asks.
    pub(crate) fn resell(
        &self,
        state: State,
        hole: Hole,
        now: u64,
        units: u64,
        latest: u64,
    ) -> Option<(State, Resold)> {
        let refilled = self.refill_to(state, now);
        let refilled_at = self.position(refilled.stamp);
        let end = hole.start.max(refilled_at) + units;
        let charge = State {
            spent: end - refilled_at,
            stamp: refilled.stamp,
        };
        // Less is sold than that after a reset, which has made the hole void.
        let behind = self.end(refilled).checked_sub(end)?;
        let fits =
            self.lies_ahead(state, hole) && end <= hole.end && self.ready_at(charge) <= latest;
        fits.then_some((refilled, Resold { charge, behind }))
    }

    fn lies_ahead(&self, state: State, hole: Hole) -> bool {
        self.is_greedy()
            && hole.end > self.position(state.stamp) + self.units(self.capacity_tokens())
    }
}
