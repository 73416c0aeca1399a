//! An attempt to acquire tokens, and its effect on a word: the part of a decision that buckets and
//! tables share.

use core::time::Duration;

use crate::{
    decision::{Decision, DecisionView, Outcome},
    duration::saturating_nanos,
    state::{Layout, State},
};

/// An attempt to acquire `cost` tokens at a given time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) now_nanos: u64,
    pub(crate) cost: u32,
    /// `now_nanos` in ticks.
    pub(crate) tick: u64,
    /// Latest tick at which a reservation may be ready; `None` for an attempt that does not wait.
    pub(crate) latest: Option<u64>,
}

/// Effect of an attempt on a word.
pub(crate) enum Transition {
    /// Write this word. If the CAS succeeds, this number of units is charged.
    Write(u64, u64),
    /// Write nothing: the refilled word, and the outcome.
    Unchanged(u64, Outcome),
}

impl<'a> Attempt<'a> {
    /// Creates an attempt to take tokens that are available now.
    #[inline(always)]
    pub(crate) fn immediate(layout: &'a Layout, now_nanos: u64, cost: u32) -> Attempt<'a> {
        Attempt {
            layout,
            now_nanos,
            cost,
            tick: layout.tick(now_nanos),
            latest: None,
        }
    }

    /// Creates an attempt to reserve tokens that are available within `max_wait`.
    pub(crate) fn reservation(
        layout: &'a Layout,
        now_nanos: u64,
        cost: u32,
        max_wait: Duration,
    ) -> Attempt<'a> {
        let latest = layout.tick(now_nanos.saturating_add(saturating_nanos(max_wait)));
        Attempt {
            latest: Some(latest),
            ..Attempt::immediate(layout, now_nanos, cost)
        }
    }

    #[inline]
    pub(crate) fn units(&self) -> u64 {
        self.layout.units(self.cost)
    }

    /// Returns the decision for an unknown key when it charges nothing, which does not depend on
    /// the number of available tokens.
    #[inline]
    pub(crate) fn decide_without_charge(&self) -> Option<Decision> {
        match self.transition(0) {
            Transition::Write(..) => None,
            Transition::Unchanged(refilled, outcome) => {
                Some(self.uncharged(self.layout.unpack(refilled), outcome))
            }
        }
    }

    /// Returns the effect of this attempt on `word`.
    #[inline(always)]
    pub(crate) fn transition(&self, word: u64) -> Transition {
        if self.cost == 0 {
            let refilled = self.layout.refill_to(self.layout.unpack(word), self.tick);
            return Transition::Unchanged(self.layout.pack(refilled), Outcome::Allowed);
        }
        if self.latest.is_some() {
            return self.reserve(self.layout.unpack(word));
        }
        match self.layout.take(word, self.tick, self.cost) {
            Ok(next) => Transition::Write(next, self.units()),
            Err(refilled) => Transition::Unchanged(refilled, self.refusal()),
        }
    }

    /// Returns what this attempt would decide on `word`, without a charge.
    pub(crate) fn look(&self, word: u64) -> DecisionView {
        let (refilled, outcome) = match self.transition(word) {
            Transition::Write(..) => (self.refilled(word), Outcome::Allowed),
            Transition::Unchanged(refilled, outcome) => (self.layout.unpack(refilled), outcome),
        };
        self.uncharged(refilled, outcome).view()
    }

    /// Returns the state of `word` at the time of the attempt.
    pub(crate) fn refilled(&self, word: u64) -> State {
        self.layout.refill_to(self.layout.unpack(word), self.tick)
    }

    /// Returns the effect of a reservation.
    #[inline(never)]
    fn reserve(&self, state: State) -> Transition {
        let refilled = self.layout.refill_to(state, self.tick);
        if self.refusal() == Outcome::CostAboveCapacity {
            return Transition::Unchanged(self.layout.pack(refilled), Outcome::CostAboveCapacity);
        }
        match self.layout.reserve(
            state,
            self.tick,
            self.units(),
            self.latest.unwrap_or(self.tick),
        ) {
            // When an interval quota skips to the next window, the skipped rest is part of the
            // charge.
            Ok(next) => Transition::Write(self.layout.pack(next), next.spent - refilled.spent),
            Err((refilled, error)) => {
                Transition::Unchanged(self.layout.pack(refilled), error.into())
            }
        }
    }

    /// Returns the outcome when there are too few tokens.
    #[inline]
    pub(crate) fn refusal(&self) -> Outcome {
        if self.cost > self.layout.capacity_tokens() {
            Outcome::CostAboveCapacity
        } else {
            Outcome::Refused
        }
    }

    /// Returns the decision that charged `units` and left `state`.
    #[inline]
    pub(crate) fn charged(&self, state: State, units: u64) -> Decision {
        self.decision(state, units, Outcome::Allowed)
    }

    /// Returns the decision that charged nothing and found `refilled`.
    #[inline]
    pub(crate) fn uncharged(&self, refilled: State, outcome: Outcome) -> Decision {
        self.decision(refilled, 0, outcome)
    }

    /// Returns the decision that charged `units` and left `state`, or charged nothing and found it.
    #[inline]
    pub(crate) fn decision(&self, state: State, units: u64, outcome: Outcome) -> Decision {
        Decision::new(DecisionView::new(
            self.layout.scaled,
            self.now_nanos,
            self.cost,
            state,
            units,
            outcome,
        ))
    }
}
