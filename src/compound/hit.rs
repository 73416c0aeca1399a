//! Fast path of a decision on several limits: every bucket is known, and no two parts are on one.

use super::{
    ask::{Ask, Target},
    part::{Held, swap},
    part_decision::PartDecision,
};
#[cfg(feature = "std")]
use crate::keyed::KeySlot;
use crate::{
    bucket::Bucket,
    decision::{DecisionView, Outcome},
    origin::Origin,
    state::{Layout, State},
    sync::AtomicU64,
};

/// A part whose word was seen.
#[derive(Clone, Copy)]
pub(super) struct Hit<'h> {
    layout: &'h Layout,
    origin: Origin,
    /// See [`Part`](super::part::Part).
    position: (u64, u64),
    /// The word allows the part.
    pub(super) is_allowed: bool,
    pub(super) swap: Swap<'h>,
}

/// Swap of a word.
#[derive(Clone, Copy)]
pub(super) struct Swap<'h> {
    word: &'h AtomicU64,
    seen: u64,
    /// Word after the charge; for a refusal, the refilled word.
    pub(super) next: u64,
}

/// Where a part has its word.
#[derive(Clone, Copy)]
pub(super) enum Location<'h> {
    Bucket(&'h Bucket),
    #[cfg(feature = "std")]
    Slot(KeySlot<'h>, Origin),
}

impl<'h> Location<'h> {
    /// Locates the word of a part. Returns `None` for a key of a limiter with rules.
    #[inline(always)]
    pub(super) fn of<'a: 'h>(ask: &Ask<'a>, held: &'h Held, index: usize) -> Option<Location<'h>> {
        match ask.target {
            Target::Bucket(bucket) => {
                let _ = (held, index);
                Some(Location::Bucket(bucket))
            }
            #[cfg(feature = "std")]
            Target::Key(key) => {
                let (slot, origin) = key.slot(held, index)?;
                Some(Location::Slot(slot, origin))
            }
        }
    }

    /// Prefetches the cache line of a key's word. A bucket has it in its own line.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        match self {
            Location::Bucket(_) => {}
            #[cfg(feature = "std")]
            Location::Slot(slot, _) => slot.prefetch(),
        }
    }
}

impl<'h> Hit<'h> {
    /// Looks at a part. Returns `None` when it costs nothing, or when its table does not have the key.
    #[inline(always)]
    pub(super) fn find(location: &Location<'h>, cost: u32, now_nanos: u64) -> Option<Hit<'h>> {
        let (layout, origin, position, (word, seen)) = match *location {
            Location::Bucket(bucket) => (
                bucket.layout(),
                bucket.origin(),
                bucket.position(),
                bucket.word(),
            ),
            #[cfg(feature = "std")]
            Location::Slot(slot, origin) => (slot.layout(), origin, slot.position(), slot.word()?),
        };
        if cost == 0 {
            return None;
        }
        let (is_allowed, next) = match layout.take(seen, layout.tick(now_nanos), cost) {
            Ok(next) => (true, next),
            Err(refilled) => (false, refilled),
        };
        Some(Hit {
            layout,
            origin,
            position,
            is_allowed,
            swap: Swap { word, seen, next },
        })
    }

    /// Returns the decision that took the tokens.
    #[inline(always)]
    pub(super) fn decision(&self, ask: &Ask<'_>, now_nanos: u64) -> PartDecision {
        let (state, units) = (
            self.layout.unpack(self.swap.next),
            self.layout.units(ask.cost),
        );
        self.decided(ask, now_nanos, (state, units), Outcome::Allowed)
    }

    /// Returns what the word says of the part, as a decision that took nothing.
    #[inline(always)]
    pub(super) fn view(&self, ask: &Ask<'_>, now_nanos: u64) -> PartDecision {
        let state = self.layout.unpack(self.swap.next);
        let (state, outcome) = if self.is_allowed {
            // As it was before the charge.
            let spent = state.spent - self.layout.units(ask.cost);
            (State { spent, ..state }, Outcome::Allowed)
        } else if ask.cost > self.layout.capacity_tokens() {
            (state, Outcome::CostAboveCapacity)
        } else {
            (state, Outcome::Refused)
        };
        self.decided(ask, now_nanos, (state, 0), outcome)
    }

    #[inline(always)]
    fn decided(
        &self,
        ask: &Ask<'_>,
        now_nanos: u64,
        (state, units): (State, u64),
        outcome: Outcome,
    ) -> PartDecision {
        let view = DecisionView::new(
            self.layout.scaled,
            now_nanos,
            ask.cost,
            state,
            units,
            outcome,
        );
        PartDecision {
            view,
            origin: self.origin,
        }
    }
}

impl Swap<'_> {
    /// Takes the tokens. Returns false when the word has changed.
    #[inline(always)]
    fn take(&self) -> bool {
        swap(self.word, self.seen, self.next)
    }
}

/// Takes the tokens of the parts, of which `number` returns the one at a place of the order, until a
/// word has changed. Returns how many were taken.
#[inline(always)]
pub(super) fn take_all<const K: usize>(
    hits: &[Hit<'_>; K],
    len: usize,
    number: impl Fn(usize) -> usize,
) -> usize {
    for at in 0..len {
        if !hits[number(at)].swap.take() {
            return at;
        }
    }
    len
}

/// Takes tokens like [`take_all`], in this order.
#[inline(never)]
pub(super) fn take_in<const K: usize>(
    swaps: [Swap<'_>; K],
    len: usize,
    order: &[usize; K],
) -> usize {
    let mut places = order[..len].iter();
    places.position(|&n| !swaps[n].take()).unwrap_or(len)
}

/// Returns a copy that is passed to a function which is not inlined. The original, whose address is
/// not taken then, stays in registers.
#[expect(
    clippy::manual_memcpy,
    reason = "copied as scalars, which need no address"
)]
#[inline(always)]
pub(super) fn copy<T: Copy, const K: usize>(array: &[T; K]) -> [T; K] {
    let mut copy = [array[0]; K];
    for n in 1..K {
        copy[n] = array[n];
    }
    copy
}

/// Order in which parts take tokens: that of their positions.
#[derive(Clone, Copy)]
pub(super) enum Order<const K: usize> {
    AsNamed,
    Reversed,
    /// Numbers of the parts.
    Other([usize; K]),
}

impl<const K: usize> Order<K> {
    /// Returns the order of the first `len` parts, or `None` when two are on one bucket.
    #[inline(always)]
    pub(super) fn of(hits: &[Hit<'_>; K], len: usize) -> Option<Order<K>> {
        let is_before = |n: usize| hits[n - 1].position < hits[n].position;
        let is_after = |n: usize| hits[n - 1].position > hits[n].position;
        if (1..len).all(is_before) {
            Some(Order::AsNamed)
        } else if (1..len).all(is_after) {
            Some(Order::Reversed)
        } else if K <= 2 {
            None
        } else {
            Order::sorted(hits.map(|hit| hit.position), len)
        }
    }

    #[inline(never)]
    fn sorted(positions: [(u64, u64); K], len: usize) -> Option<Order<K>> {
        let mut order = core::array::from_fn(|n| n);
        order[..len].sort_unstable_by_key(|&n| positions[n]);
        let mut pairs = order[..len].windows(2);
        let has_twins = pairs.any(|pair| positions[pair[0]] == positions[pair[1]]);
        (!has_twins).then_some(Order::Other(order))
    }
}
