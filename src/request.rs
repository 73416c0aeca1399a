//! What is asked of a word, and what the word answers: the part of a decision that a bucket and a
//! table share.

use core::time::Duration;

use crate::{
    decision::{Decision, Outcome},
    holes::{Hole, Resold},
    state::{Layout, State},
};

/// A number of tokens asked for at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) now_nanos: u64,
    pub(crate) cost: u32,
    /// `now` in ticks.
    pub(crate) tick: u64,
    /// Until which tick the caller would wait; `None` for one who does not.
    pub(crate) latest: Option<u64>,
}

/// How a request goes on.
pub(crate) enum Step {
    /// Write this word, and if that succeeds, so many units were charged.
    Write(u64, u64),
    /// Write nothing; this is the word that was found, settled, and the outcome.
    Answer(u64, Outcome),
}

impl<'a> Request<'a> {
    /// Tokens that are there now.
    #[inline(always)]
    pub(crate) fn take(layout: &'a Layout, now_nanos: u64, cost: u32) -> Request<'a> {
        Request {
            layout,
            now_nanos,
            cost,
            tick: layout.tick(now_nanos),
            latest: None,
        }
    }

    /// Tokens that are there within `max_wait`.
    pub(crate) fn reserve(
        layout: &'a Layout,
        now_nanos: u64,
        cost: u32,
        max_wait: Duration,
    ) -> Request<'a> {
        let latest = layout.tick(now_nanos.saturating_add(nanos(max_wait)));
        Request {
            latest: Some(latest),
            ..Request::take(layout, now_nanos, cost)
        }
    }

    #[inline]
    pub(crate) fn units(&self) -> u64 {
        self.layout.units(self.cost)
    }

    /// The answer for an unknown key, where it does not depend on how many tokens there are.
    #[inline]
    pub(crate) fn without_charge(&self) -> Option<Decision> {
        match self.step(0) {
            Step::Write(..) => None,
            Step::Answer(settled, outcome) => {
                Some(self.declined(self.layout.unpack(settled), outcome))
            }
        }
    }

    /// What this request makes of a word.
    #[inline(always)]
    pub(crate) fn step(&self, word: u64) -> Step {
        if self.cost == 0 {
            let settled = self.layout.settle(self.layout.unpack(word), self.tick);
            return Step::Answer(self.layout.pack(settled), Outcome::Allowed);
        }
        if self.latest.is_some() {
            return self.step_ahead(self.layout.unpack(word));
        }
        match self.layout.take(word, self.tick, self.cost) {
            Ok(next) => Step::Write(next, self.units()),
            Err(settled) => Step::Answer(settled, self.refusal()),
        }
    }

    /// The step of one who would wait.
    #[inline(never)]
    fn step_ahead(&self, state: State) -> Step {
        let settled = self.layout.settle(state, self.tick);
        if self.refusal() == Outcome::CostAboveCapacity {
            return Step::Answer(self.layout.pack(settled), Outcome::CostAboveCapacity);
        }
        match self.layout.reserve(
            state,
            self.tick,
            self.units(),
            self.latest.unwrap_or(self.tick),
        ) {
            // What an interval quota skips to the next window is part of the charge.
            Ok(next) => Step::Write(self.layout.pack(next), next.spent - settled.spent),
            Err((settled, denied)) => Step::Answer(self.layout.pack(settled), denied.into()),
        }
    }

    /// Why there are too few.
    #[inline]
    pub(crate) fn refusal(&self) -> Outcome {
        if self.cost > self.layout.capacity_tokens() {
            Outcome::CostAboveCapacity
        } else {
            Outcome::Refused
        }
    }

    /// Sells part of a hole; see [`Layout::resell`].
    pub(crate) fn resell(&self, state: State, hole: Hole) -> Option<(State, Resold)> {
        self.layout
            .resell(state, hole, self.tick, self.units(), self.latest?)
    }

    /// The decision that took `units` and left `state`.
    #[inline]
    pub(crate) fn charged(&self, state: State, units: u64) -> Decision {
        Decision::new(self, state, units, Outcome::Allowed)
    }

    /// The decision that took nothing and found `settled`.
    #[inline]
    pub(crate) fn declined(&self, settled: State, outcome: Outcome) -> Decision {
        Decision::new(self, settled, 0, outcome)
    }
}

/// Nanoseconds in 64 bits; five centuries are as good as any longer time.
#[inline]
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
