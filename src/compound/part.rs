//! Parts of a decision on several limits: look at all, take from all in one order, give back.

use super::part_decision::PartDecision;
#[cfg(feature = "std")]
use crate::keyed::{HeldGenerations, HeldKey, HeldPlace, KeySlot};
use crate::{
    attempt::{Attempt, Transition},
    bucket::Bucket,
    decision::Outcome,
    origin::Origin,
    state::State,
    sync::AtomicU64,
};

/// Generations that the thread holds during a decision.
#[cfg(feature = "std")]
pub(super) type Held = HeldGenerations;
/// Buckets need nothing that a thread would hold.
#[cfg(not(feature = "std"))]
#[derive(Default)]
pub(super) struct Held(());
#[cfg(not(feature = "std"))]
impl Held {
    pub(super) fn put_back(self) {}
}

/// One limit of a decision.
#[derive(Clone, Copy)]
pub(super) struct Part<'h> {
    place: Place<'h>,
    origin: Origin,
    attempt: Attempt<'h>,
    /// The bucket's position in the order of all buckets. With the number of its sets, where it has
    /// some, it identifies the bucket.
    position: ((u64, u64), u64),
    /// The summed cost of merged parts does not fit 32 bits.
    overflows: bool,
    step: Step<'h>,
}

#[derive(Clone, Copy)]
enum Place<'h> {
    Bucket(&'h Bucket),
    #[cfg(feature = "std")]
    Slot(KeySlot<'h>),
}

/// Result of a look.
#[derive(Clone, Copy)]
enum Step<'h> {
    /// Swap the word that was seen for the next one, which charges so many units.
    Swap {
        word: &'h AtomicU64,
        seen: u64,
        next: u64,
        charged: u64,
    },
    /// Decide: the key is not in the table, or there was no look yet.
    Decide,
    /// Write nothing: the refilled word, and the outcome.
    Nothing(u64, Outcome),
}

/// Tokens that a part has taken: the state that the charge left, and the units charged.
type Taken = (State, u64);

/// Refusal of a part after its look had allowed.
pub(super) struct Lost {
    pub(super) part: usize,
    pub(super) decision: PartDecision,
}

impl<'h> Part<'h> {
    #[inline]
    pub(super) fn of_bucket(bucket: &'h Bucket, now_nanos: u64, cost: u32) -> Part<'h> {
        Part::in_bucket(bucket, bucket.origin(), now_nanos, cost)
    }

    #[cfg(feature = "std")]
    #[inline]
    pub(super) fn of_key(key: HeldKey<'h>, now_nanos: u64, cost: u32) -> Part<'h> {
        match key.place {
            HeldPlace::Rule(bucket) => Part::in_bucket(bucket, key.origin, now_nanos, cost),
            HeldPlace::Slot(slot) => Part {
                place: Place::Slot(slot),
                origin: key.origin,
                attempt: slot.attempt(now_nanos, cost),
                position: (slot.position(), slot.sets()),
                overflows: false,
                step: Step::Decide,
            },
        }
    }

    #[inline]
    fn in_bucket(bucket: &'h Bucket, origin: Origin, now_nanos: u64, cost: u32) -> Part<'h> {
        Part {
            place: Place::Bucket(bucket),
            origin,
            attempt: Attempt::immediate(bucket.layout(), now_nanos, cost),
            position: (bucket.position(), 0),
            overflows: false,
            step: Step::Decide,
        }
    }

    /// Looks at the word. Returns true when the attempt would be allowed.
    fn look(&mut self) -> bool {
        let found = match self.place {
            Place::Bucket(bucket) => Some(bucket.word()),
            #[cfg(feature = "std")]
            Place::Slot(slot) => slot.word(),
        };
        // The bucket of a key that is not in the table is full.
        let seen = found.map_or(0, |(_, seen)| seen);
        self.step = match (self.attempt.transition(seen), found) {
            _ if self.overflows => Step::Nothing(seen, Outcome::CostAboveCapacity),
            (Transition::Unchanged(refilled, outcome), _) => Step::Nothing(refilled, outcome),
            (Transition::Write(..), None) => Step::Decide,
            (Transition::Write(next, charged), Some((word, _))) => Step::Swap {
                word,
                seen,
                next,
                charged,
            },
        };
        self.is_allowed()
    }

    #[inline]
    fn is_allowed(&self) -> bool {
        !matches!(self.step, Step::Nothing(_, outcome) if outcome != Outcome::Allowed)
    }

    /// Takes what the look has found. An error is the refusal of a bucket that has changed since.
    #[inline]
    fn take(&self) -> Result<Taken, PartDecision> {
        match self.step {
            Step::Swap {
                word,
                seen,
                next,
                charged,
            } if swap(word, seen, next) => Ok((self.attempt.layout.unpack(next), charged)),
            Step::Nothing(refilled, _) => Ok((self.attempt.layout.unpack(refilled), 0)),
            _ => self.decide(),
        }
    }

    /// Decides on the bucket as it is now.
    #[cold]
    #[inline(never)]
    fn decide(&self) -> Result<Taken, PartDecision> {
        let decision = match self.place {
            Place::Bucket(bucket) => bucket.decide(self.attempt),
            #[cfg(feature = "std")]
            Place::Slot(slot) => slot.decide(&self.attempt),
        };
        if decision.is_allowed() {
            Ok(decision.charge())
        } else {
            Err(PartDecision::of(&decision.with_origin(self.origin)))
        }
    }

    fn give_back(&self, (state, charged): Taken) {
        let charge = self.decision((state, charged), Outcome::Allowed).decision();
        match self.place {
            Place::Bucket(bucket) => bucket.refund_charge(&charge),
            #[cfg(feature = "std")]
            Place::Slot(slot) => slot.refund(&charge),
        };
    }

    /// Returns the decision with this outcome.
    #[inline]
    fn decision(&self, (state, charged): Taken, outcome: Outcome) -> PartDecision {
        let decision = self.attempt.decision(state, charged, outcome);
        PartDecision::of(&decision.with_origin(self.origin))
    }

    /// Returns what the look has found as a decision that took nothing.
    fn view(&self) -> PartDecision {
        let (word, outcome) = match self.step {
            Step::Swap { seen, .. } => (seen, Outcome::Allowed),
            Step::Decide => (0, Outcome::Allowed),
            Step::Nothing(refilled, outcome) => (refilled, outcome),
        };
        self.decision((self.attempt.refilled(word), 0), outcome)
    }
}

/// The parts of one decision.
pub(super) struct Parts<'h, const K: usize> {
    parts: [Part<'h>; K],
    /// Number of the parts; the others do not count.
    len: usize,
    /// Numbers of the parts in the order in which they take tokens.
    order: [usize; K],
    /// For a part that is merged into another one, the number of that.
    merged_into: [Option<usize>; K],
}

impl<'h, const K: usize> Parts<'h, K> {
    /// Orders the parts, and merges those of one bucket.
    pub(super) fn new(parts: [Part<'h>; K], len: usize) -> Parts<'h, K> {
        let mut order = core::array::from_fn(|n| n);
        order[..len].sort_unstable_by_key(|&n| (parts[n].position, n));
        let mut parts = Parts {
            parts,
            len,
            order,
            merged_into: [None; K],
        };
        for at in 1..len {
            if parts.at(at).position == parts.at(at - 1).position {
                parts.merge(at);
            }
        }
        parts
    }

    #[inline]
    fn at(&self, at: usize) -> &Part<'h> {
        &self.parts[self.order[at]]
    }

    /// Merges a part into the one before it.
    #[cold]
    fn merge(&mut self, at: usize) {
        let (number, before) = (self.order[at], self.order[at - 1]);
        let into = self.merged_into[before].unwrap_or(before);
        let added = self.parts[number].attempt.cost;
        self.merged_into[number] = Some(into);
        let into = &mut self.parts[into];
        let (sum, overflows) = into.attempt.cost.overflowing_add(added);
        into.attempt.cost = if overflows { u32::MAX } else { sum };
        into.overflows |= overflows;
    }

    /// Looks at all parts. Returns true when all would be allowed.
    #[inline]
    pub(super) fn look(&mut self) -> bool {
        let mut are_allowed = true;
        for number in 0..self.len {
            if self.merged_into[number].is_none() {
                are_allowed &= self.parts[number].look();
            }
        }
        are_allowed
    }

    /// Takes from all parts what the look has found, or nothing.
    pub(super) fn take(&self) -> Result<[PartDecision; K], Lost> {
        self.take_from(0, [(State { spent: 0, stamp: 0 }, 0); K])
    }

    /// Takes from the parts that are not among the first `end`, which have taken what left these
    /// words, or nothing, also from those. None of the parts is merged.
    pub(super) fn take_after(
        &self,
        end: usize,
        words: &[u64; K],
    ) -> Result<[PartDecision; K], Lost> {
        let taken = core::array::from_fn(|number| {
            let attempt = &self.parts[number].attempt;
            (attempt.layout.unpack(words[number]), attempt.units())
        });
        self.take_from(end, taken)
    }

    /// Takes from the parts from this place of the order on.
    fn take_from(&self, begin: usize, mut taken: [Taken; K]) -> Result<[PartDecision; K], Lost> {
        for at in begin..self.len {
            let number = self.order[at];
            if self.merged_into[number].is_some() {
                continue;
            }
            match self.parts[number].take() {
                Ok(charge) => taken[number] = charge,
                Err(decision) => {
                    self.give_back(at, &taken);
                    return Err(Lost {
                        part: number,
                        decision,
                    });
                }
            }
        }
        Ok(self.decisions(|number, part| part.decision(taken[number], Outcome::Allowed)))
    }

    /// Gives back what the parts before this position have taken, the last one first.
    #[cold]
    fn give_back(&self, end: usize, taken: &[Taken; K]) {
        for &number in self.order[..end].iter().rev() {
            if self.merged_into[number].is_none() {
                self.parts[number].give_back(taken[number]);
            }
        }
    }

    /// Returns what the last look has found, as decisions that took nothing.
    #[cold]
    pub(super) fn views(&self) -> [PartDecision; K] {
        self.decisions(|_, part| part.view())
    }

    /// Returns a decision of each part. A merged one shows that of the part it is merged into, and
    /// has charged nothing itself.
    #[inline]
    fn decisions(&self, decision: impl Fn(usize, &Part<'h>) -> PartDecision) -> [PartDecision; K] {
        core::array::from_fn(|number| match self.merged_into[number] {
            None => decision(number, &self.parts[number]),
            Some(into) => decision(into, &self.parts[into]).without_charge(),
        })
    }
}

/// Swaps a word, with the orderings of a charge: see [`Bucket`] and the table.
#[inline(always)]
pub(super) fn swap(word: &AtomicU64, seen: u64, next: u64) -> bool {
    use crate::sync::Ordering;
    word.compare_exchange(seen, next, Ordering::Release, Ordering::Relaxed)
        .is_ok()
}
