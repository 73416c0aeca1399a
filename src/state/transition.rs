//! The named transitions: snapshot in, successor out. Refusals have no successor.

use super::{Layout, State};

/// Why nothing is sold ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    DebtExhausted,
    TooLate,
}

impl Layout {
    /// What the state has become by tick `now`, refill included. Nothing is written for the sake of
    /// this.
    #[inline]
    pub(crate) fn settle(&self, state: State, now: u64) -> State {
        // A clock that is behind the stamp is a stale one: decide as of the stamp.
        let elapsed = now.saturating_sub(state.stamp);
        let later = state.stamp + elapsed;
        if self.is_greedy() {
            // Ticks within the horizon refill less than 2⁶¹ units.
            let spent = state.spent.saturating_sub(elapsed << self.tick_bits);
            return State {
                spent,
                stamp: later,
            };
        }
        if state.spent == 0 {
            return State {
                spent: 0,
                stamp: later,
            };
        }
        if elapsed < self.window {
            state
        } else {
            self.settle_windows(state, elapsed)
        }
    }

    /// One or more windows have passed. Apart, since it divides, and a decision that it is not part
    /// of gets small.
    #[cold]
    #[inline(never)]
    fn settle_windows(&self, state: State, elapsed: u64) -> State {
        let windows = elapsed / self.window;
        let spent = state
            .spent
            .saturating_sub(windows.saturating_mul(self.capacity));
        match spent {
            // The next window begins with the next request.
            0 => State {
                spent,
                stamp: state.stamp + elapsed,
            },
            _ => State {
                spent,
                stamp: state.stamp + windows * self.window,
            },
        }
    }

    /// Takes `cost` tokens, at least 1, at tick `now`. The successor, a word, shows what was taken
    /// in `spent`.
    ///
    /// Greedy quotas and clocks that move on take the short way, which leaves the word in one
    /// piece. With `e` ticks elapsed, the word loses `e * passing`: `e << k` units of `spent`, and
    /// `e` is added to `stamp`. That is more than the word exactly when `e << k` is more than
    /// `spent`, since the new stamp fits its bits. Then the bucket is full, and the word is `now`.
    ///
    /// Most decisions on a busy bucket come within a tick of the last one. That is a branch of its
    /// own, where the new word does not depend on the clock: the processor guesses the branch, and
    /// need not wait for the clock to be read and scaled.
    ///
    /// # Errors
    /// The settled word, where there is not enough: nothing is to be written.
    #[inline(always)]
    pub(crate) fn take(&self, word: u64, now: u64, cost: u32) -> Result<u64, u64> {
        if cost > self.greedy_tokens {
            return self.take_settled(self.unpack(word), now, self.units(cost));
        }
        let charge = cost as u64 * self.token;
        let stamp = word & self.max_stamp;
        if now == stamp {
            return if word <= self.exhausted - charge {
                Ok(word + charge)
            } else {
                Err(word)
            };
        }
        if now < stamp {
            return self.take_settled(self.unpack(word), now, self.units(cost));
        }
        match (now - stamp).checked_mul(self.passing) {
            Some(passed) if passed <= word => {
                let settled = word - passed;
                if settled <= self.exhausted - charge {
                    Ok(settled + charge)
                } else {
                    Err(settled)
                }
            }
            _ => Ok(charge + now),
        }
    }

    /// The general way.
    #[cold]
    #[inline(never)]
    fn take_settled(&self, state: State, now: u64, cost: u64) -> Result<u64, u64> {
        let settled = self.settle(state, now);
        match self.capacity.checked_sub(cost) {
            Some(room) if settled.spent <= room => Ok(self.pack(State {
                spent: settled.spent + cost,
                stamp: settled.stamp,
            })),
            _ => Err(self.pack(settled)),
        }
    }

    /// Takes `cost` units at tick `now`, ahead of time if need be, ready at tick `latest` at the
    /// latest and as far as the debt allows. `cost` is at most the capacity.
    ///
    /// # Errors
    /// The settled state and why, when that is not possible: nothing is to be written.
    pub(crate) fn reserve(
        &self,
        state: State,
        now: u64,
        cost: u64,
        latest: u64,
    ) -> Result<State, (State, Denied)> {
        let settled = self.settle(state, now);
        let spent = self.start(settled.spent, cost) + cost;
        let sold = State {
            spent,
            stamp: settled.stamp,
        };
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

    /// Undoes the charge of `charged` units that left `sold`; see the module's docs for the rule.
    /// `None`: nothing can be given back any more.
    pub(crate) fn refund(&self, state: State, sold: State, charged: u64) -> Option<State> {
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
            _ => Some(State {
                spent: state.spent.saturating_sub(back),
                stamp: state.stamp,
            }),
        }
    }

    fn refundable_greedy(&self, state: State, sold: State, charged: u64) -> u64 {
        if self.is_ahead(state) {
            return if self.end(state) == self.end(sold) {
                charged
            } else {
                0
            };
        }
        let sold_at = self.position(sold.stamp);
        let ready = self.end(sold).saturating_sub(self.capacity);
        let used = if ready > sold_at { ready } else { sold_at };
        match self.position(state.stamp).checked_sub(used) {
            Some(since) => charged.saturating_sub(since),
            None => 0,
        }
    }

    fn refundable_interval(&self, state: State, sold: State, charged: u64) -> u64 {
        let since = state.stamp - sold.stamp;
        if !since.is_multiple_of(self.window) {
            return 0;
        }
        let windows = since / self.window;
        if self.is_ahead(state) {
            let last = windows
                .saturating_mul(self.capacity)
                .saturating_add(state.spent)
                == sold.spent;
            return if last { charged } else { 0 };
        }
        let used_in = sold.spent.saturating_sub(1) / self.capacity;
        if windows != used_in {
            return 0;
        }
        // What it skipped belongs to the window before.
        let in_this_window = sold.spent - used_in * self.capacity;
        if charged < in_this_window {
            charged
        } else {
            in_this_window
        }
    }

    /// A full bucket at tick `now`, and the stamp from which on decisions count. Its own stamp is
    /// newer than any before, so that no earlier word comes back; at the end of time, where there
    /// is none, no decision counts any more.
    pub(crate) fn reset(&self, state: State, now: u64) -> (State, u64) {
        let stamp = self.newer(state, now);
        let from = if stamp > state.stamp {
            stamp
        } else {
            stamp + 1
        };
        (State { spent: 0, stamp }, from)
    }

    /// The first charge of another owner, who takes the word over. Its stamp is newer than any of
    /// the old owner's, so that a word never repeats across owners, whatever refunds do: a thread
    /// that still holds the old word cannot take it for its own. A word that nobody has had is
    /// `unused`; all zero alone does not say so, since a refund in the first tick leaves that too.
    ///
    /// `None` at the end of time, where there may be no newer stamp.
    pub(crate) fn hand_over(
        &self,
        state: State,
        now: u64,
        cost: u64,
        unused: bool,
    ) -> Option<State> {
        let stamp = if unused { now } else { self.newer(state, now) };
        if stamp == state.stamp && !unused {
            None
        } else {
            Some(State { spent: cost, stamp })
        }
    }

    /// Whether another owner may take the word over with nothing lost.
    #[inline]
    pub(crate) fn is_free(&self, state: State, now: u64) -> bool {
        self.settle(state, now).spent == 0 && self.newer(state, now) > state.stamp
    }

    fn newer(&self, state: State, now: u64) -> u64 {
        if now > state.stamp {
            now
        } else if state.stamp < self.last_tick() {
            state.stamp + 1
        } else {
            state.stamp
        }
    }
}
