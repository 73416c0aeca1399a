//! The named transitions: snapshot in, successor out. Refusals have no successor.

use super::{Layout, State};

/// Why nothing is sold ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    DebtExhausted,
    TooLate,
}

impl Layout {
    /// What the state has become by tick `now`, refill included. Nothing is written for the sake of this.
    #[inline]
    pub(crate) const fn settle(&self, state: State, now: u64) -> State {
        // A clock that is behind the stamp is a stale one: decide as of the stamp.
        let elapsed = now.saturating_sub(state.stamp);
        let later = state.stamp + elapsed;
        if self.is_greedy() {
            // Ticks within the horizon refill less than 2⁶¹ units.
            let spent = state.spent.saturating_sub(elapsed << self.tick_bits);
            return State { spent, stamp: later };
        }
        if state.spent == 0 {
            return State { spent: 0, stamp: later };
        }
        if elapsed < self.window { state } else { self.settle_windows(state, elapsed) }
    }

    /// One or more windows have passed. Apart, since it divides, and a decision that it is not part of gets small.
    #[cold]
    #[inline(never)]
    const fn settle_windows(&self, state: State, elapsed: u64) -> State {
        let windows = elapsed / self.window;
        let spent = state.spent.saturating_sub(windows.saturating_mul(self.capacity));
        match spent {
            // The next window begins with the next request.
            0 => State { spent, stamp: state.stamp + elapsed },
            _ => State { spent, stamp: state.stamp + windows * self.window },
        }
    }

    /// Takes `cost` units at tick `now`. The successor shows what was taken in `spent`.
    ///
    /// # Errors
    /// The settled state, where there is not enough: nothing is to be written.
    #[inline]
    pub(crate) const fn take(&self, state: State, now: u64, cost: u64) -> Result<State, State> {
        let settled = self.settle(state, now);
        match self.capacity.checked_sub(cost) {
            Some(room) if settled.spent <= room => Ok(State { spent: settled.spent + cost, stamp: settled.stamp }),
            _ => Err(settled),
        }
    }

    /// Takes `cost` units at tick `now`, ahead of time if need be, ready at tick `latest` at the latest and as far as the debt
    /// allows. `cost` is at most the capacity.
    ///
    /// # Errors
    /// The settled state and why, when that is not possible: nothing is to be written.
    pub(crate) const fn reserve(&self, state: State, now: u64, cost: u64, latest: u64) -> Result<State, (State, Denied)> {
        let settled = self.settle(state, now);
        let spent = self.start(settled.spent, cost) + cost;
        let sold = State { spent, stamp: settled.stamp };
        if spent <= self.capacity {
            Ok(sold)
        } else if spent > self.limit {
            Err((settled, Denied::DebtExhausted))
        } else if self.ready(sold) > latest {
            Err((settled, Denied::TooLate))
        } else {
            Ok(sold)
        }
    }

    /// Where a charge begins. In an interval quota one that does not fit the rest of a window waits for the next one as a
    /// whole: no window ever gives more than its capacity.
    const fn start(&self, spent: u64, cost: u64) -> u64 {
        if self.is_greedy() || cost == 0 {
            return spent;
        }
        let last = (spent + cost - 1) / self.capacity;
        if last > spent / self.capacity { last * self.capacity } else { spent }
    }

    /// Whether more is sold than there is: somebody waits.
    #[inline]
    pub(crate) const fn is_ahead(&self, state: State) -> bool {
        state.spent > self.capacity
    }

    /// The tick at which the charge that left `sold` may be used.
    pub(crate) const fn ready(&self, sold: State) -> u64 {
        if !self.is_ahead(sold) {
            return sold.stamp;
        }
        let ticks = if self.is_greedy() {
            (sold.spent - self.capacity).div_ceil(1 << self.tick_bits)
        } else {
            (sold.spent - 1) / self.capacity * self.window
        };
        sold.stamp + ticks
    }

    /// The first tick at which a charge of `cost` units would pass, if nobody takes anything in between.
    pub(crate) const fn enough_at(&self, settled: State, cost: u64) -> u64 {
        let spent = self.start(settled.spent, cost) + cost;
        self.ready(State { spent, stamp: settled.stamp })
    }

    /// The first tick at which the bucket is full again.
    pub(crate) const fn full_at(&self, settled: State) -> u64 {
        let ticks = if self.is_greedy() {
            settled.spent.div_ceil(1 << self.tick_bits)
        } else {
            settled.spent.div_ceil(self.capacity) * self.window
        };
        settled.stamp + ticks
    }

    /// Where a tick lies on the axis of refilled units, for greedy quotas.
    pub(crate) const fn position(&self, tick: u64) -> u64 {
        tick << self.tick_bits
    }

    /// The end of what is sold, on that axis.
    pub(crate) const fn end(&self, state: State) -> u64 {
        self.position(state.stamp) + state.spent
    }

    /// Undoes the charge of `charged` units that left `sold`; see the module's docs for the rule. `None`: nothing can be given
    /// back any more.
    pub(crate) const fn refund(&self, state: State, sold: State, charged: u64) -> Option<State> {
        if state.stamp < sold.stamp {
            // Not a charge on this bucket.
            return None;
        }
        let back = if self.is_greedy() {
            self.refundable_greedy(state, sold, charged)
        } else {
            self.refundable_interval(state, sold, charged)
        };
        match back {
            0 => None,
            _ => Some(State { spent: state.spent.saturating_sub(back), stamp: state.stamp }),
        }
    }

    const fn refundable_greedy(&self, state: State, sold: State, charged: u64) -> u64 {
        if self.is_ahead(state) {
            return if self.end(state) == self.end(sold) { charged } else { 0 };
        }
        let sold_at = self.position(sold.stamp);
        let ready = self.end(sold).saturating_sub(self.capacity);
        let used = if ready > sold_at { ready } else { sold_at };
        match self.position(state.stamp).checked_sub(used) {
            Some(since) => charged.saturating_sub(since),
            None => 0,
        }
    }

    const fn refundable_interval(&self, state: State, sold: State, charged: u64) -> u64 {
        let since = state.stamp - sold.stamp;
        if !since.is_multiple_of(self.window) {
            return 0;
        }
        let windows = since / self.window;
        if self.is_ahead(state) {
            let last = windows.saturating_mul(self.capacity).saturating_add(state.spent) == sold.spent;
            return if last { charged } else { 0 };
        }
        let used_in = sold.spent.saturating_sub(1) / self.capacity;
        if windows != used_in {
            return 0;
        }
        // What it skipped belongs to the window before.
        let in_this_window = sold.spent - used_in * self.capacity;
        if charged < in_this_window { charged } else { in_this_window }
    }

    /// A full bucket at tick `now`, and the stamp from which on decisions count. Its own stamp is newer than any before, so
    /// that no earlier word comes back; at the end of time, where there is none, no decision counts any more.
    pub(crate) const fn reset(&self, state: State, now: u64) -> (State, u64) {
        let stamp = self.newer(state, now);
        let from = if stamp > state.stamp { stamp } else { stamp + 1 };
        (State { spent: 0, stamp }, from)
    }

    /// The first charge of another owner, who takes the word over. Its stamp is newer than any of the old owner's, so that a
    /// word never repeats across owners, whatever refunds do: a thread that still holds the old word cannot take it for its own.
    /// A word that nobody has had is `unused`; all zero alone does not say so, since a refund in the first tick leaves that too.
    ///
    /// `None` at the end of time, where there may be no newer stamp.
    pub(crate) const fn hand_over(&self, state: State, now: u64, cost: u64, unused: bool) -> Option<State> {
        let stamp = if unused { now } else { self.newer(state, now) };
        if stamp == state.stamp && !unused { None } else { Some(State { spent: cost, stamp }) }
    }

    /// Whether another owner may take the word over with nothing lost.
    #[inline]
    pub(crate) const fn is_free(&self, state: State, now: u64) -> bool {
        self.settle(state, now).spent == 0 && self.newer(state, now) > state.stamp
    }

    const fn newer(&self, state: State, now: u64) -> u64 {
        if now > state.stamp {
            now
        } else if state.stamp < self.last_tick() {
            state.stamp + 1
        } else {
            state.stamp
        }
    }
}
