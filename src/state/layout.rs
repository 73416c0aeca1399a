//! Layout of the packed word, and the pure transitions of its state.
//!
//! A transition takes a snapshot and returns its successor. A refusal has no successor.

use core::ops::Deref;

use super::{
    scaled_quota::ScaledQuota,
    snapshot::State,
    tick_ratio::{HORIZON_NANOS, TickRatio},
};

/// Parameters of a layout: a validated quota as plain integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayoutParams {
    pub(crate) capacity: u32,
    /// Tokens that may be sold beyond the capacity.
    pub(crate) debt: u32,
    /// Tokens refilled per period; for interval quotas, the capacity.
    pub(crate) tokens: u64,
    pub(crate) period_nanos: u64,
    pub(crate) is_interval: bool,
}

/// Field widths and scales derived from a quota.
///
/// With `c` = capacity + debt tokens to distinguish, `rate`, and a horizon of 2³⁰ s, the word must
/// hold `c << f` units and `2³⁰ s * rate << f` ticks. `f` is the largest number for which both fit
/// 64 bits. When even 0 does not fit, ticks are made coarser by 2ᵏ instead. The stamp gets the bits
/// that `spent` leaves over. A stamp therefore cannot wrap within the horizon, and time stops at
/// the horizon. The debt of a quota is its capacity, which is room for a reservation of any cost:
/// 10 tokens at 1/s have f = 14 and a tick of 61 µs; 10⁶ tokens at 10⁶/s have a tick of 128 tokens
/// and 128 µs.
///
/// For interval quotas, units are tokens, and a tick is the smallest fraction of the window for
/// which the stamp fits.
///
/// The fields that the common decision reads come first, in one cache line. They are numbers to add
/// to a word or to compare it with, so that the word need not be unpacked: see [`Layout::take`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Layout {
    tick_ratio: TickRatio,
    /// Mask of the stamp, and the largest stamp.
    pub(super) max_stamp: u64,
    /// Decrease of a greedy quota's word per elapsed tick: 2ᵏ units of `spent`, minus one of
    /// `stamp`.
    pub(super) passing: u64,
    /// Increase of a word per token taken.
    pub(super) token: u64,
    /// Largest word of an exhausted bucket.
    pub(super) exhausted: u64,
    /// Capacity in tokens for greedy quotas; 0 for interval quotas.
    pub(super) greedy_tokens: u32,
    stamp_bits: u8,
    pub(crate) scaled: ScaledQuota,
}

impl Layout {
    /// Returns the layout of a word that packs the state into 64 bits.
    pub(crate) const fn packed(params: &LayoutParams) -> Layout {
        let most = params.capacity as u64 + params.debt as u64;
        let budget = BitBudget::Packed {
            spent_bits: bits(most as u128),
        };
        if params.is_interval {
            Layout::interval(params, most, budget)
        } else {
            Layout::greedy(params, most, budget)
        }
    }

    /// Returns the layout of a state that is kept as two numbers of 52 bits each and never packed.
    /// Arithmetic in floating point, as in Redis' Lua, is exact within 52 bits. Such a bucket has
    /// no waiters, so `params.debt` does not count.
    pub(crate) const fn unpacked(params: &LayoutParams) -> Layout {
        let most = params.capacity as u64;
        if params.is_interval {
            Layout::interval(params, most, BitBudget::Unpacked)
        } else {
            Layout::greedy(params, most, BitBudget::Unpacked)
        }
    }

    const fn greedy(params: &LayoutParams, most: u64, budget: BitBudget) -> Layout {
        let (tokens, nanos) = (params.tokens as u128, params.period_nanos as u128);
        let spent_bits = bits(most as u128);
        let (mut f, mut k) = (0, 0);
        // No quota reaches 32: one token a century with capacity 1 stops there.
        while f < 32
            && budget.fits(spent_bits + f + 1)
            && bits(units_to_horizon(tokens << (f + 1), nanos)) <= budget.stamp_bits(f + 1)
        {
            f += 1;
        }
        while f == 0 && bits(units_to_horizon(tokens, nanos) >> k) > budget.stamp_bits(0) {
            k += 1;
        }
        let layout = Layout::greedy_with(params, most, budget, f, k);
        if layout.last_tick() <= layout.max_stamp {
            return layout;
        }
        // The tick ratio is rounded up, which can exceed the largest stamp by one.
        let (f, k) = if f > 0 { (f - 1, 0) } else { (0, k + 1) };
        Layout::greedy_with(params, most, budget, f, k)
    }

    const fn greedy_with(
        params: &LayoutParams,
        most: u64,
        budget: BitBudget,
        f: u32,
        k: u32,
    ) -> Layout {
        let stamp_bits = budget.stamp_bits(f);
        let max_stamp = (1 << stamp_bits) - 1;
        let capacity = (params.capacity as u64) << f;
        let packed = budget.is_packed();
        Layout {
            tick_ratio: TickRatio::new(
                (params.tokens as u128) << f,
                (params.period_nanos as u128) << k,
            ),
            max_stamp,
            // k is at least 4 bits below the width of `spent`, so this never shifts by 64.
            passing: if packed {
                (1 << (stamp_bits + k)) - 1
            } else {
                0
            },
            token: if packed { 1 << (stamp_bits + f) } else { 0 },
            exhausted: if packed {
                capacity << stamp_bits | max_stamp
            } else {
                0
            },
            greedy_tokens: if packed { params.capacity } else { 0 },
            stamp_bits: stamp_bits as u8,
            scaled: ScaledQuota {
                capacity,
                window: 0,
                limit: most << f,
                refill: params.tokens << f,
                nanos: params.period_nanos,
                unit_bits: f as u8,
                tick_bits: k as u8,
            },
        }
    }

    const fn interval(params: &LayoutParams, most: u64, budget: BitBudget) -> Layout {
        let stamp_bits = budget.stamp_bits(0);
        let nanos_per_tick_bits = 60_u32.saturating_sub(stamp_bits);
        // A whole number of ticks, so that a window ends on a tick. At least 4: a tick is at most
        // a quarter of a nanosecond per token, and a window is at least a nanosecond per token.
        let window_nanos = params.period_nanos;
        let window = window_nanos >> nanos_per_tick_bits;
        let max_stamp = (1 << stamp_bits) - 1;
        let capacity = params.capacity as u64;
        let packed = budget.is_packed();
        Layout {
            tick_ratio: TickRatio::new(window as u128, window_nanos as u128),
            max_stamp,
            passing: 0,
            token: if packed { 1 << stamp_bits } else { 0 },
            exhausted: if packed {
                capacity << stamp_bits | max_stamp
            } else {
                0
            },
            greedy_tokens: 0,
            stamp_bits: stamp_bits as u8,
            scaled: ScaledQuota {
                capacity,
                window,
                limit: most,
                refill: window,
                nanos: window_nanos,
                unit_bits: 0,
                tick_bits: 0,
            },
        }
    }

    #[inline]
    pub(crate) const fn unpack(&self, word: u64) -> State {
        State {
            spent: word >> self.stamp_bits,
            stamp: word & self.max_stamp,
        }
    }

    #[inline]
    pub(crate) fn pack(&self, state: State) -> u64 {
        // More than `limit` is spent in a word only if another program wrote it to a shared table.
        debug_assert!(
            state.stamp <= self.max_stamp && state.spent.leading_zeros() >= self.stamp_bits.into()
        );
        state.spent << self.stamp_bits | state.stamp
    }

    /// Returns the tick at `nanos` since the origin.
    #[inline]
    pub(crate) const fn tick(&self, nanos: u64) -> u64 {
        self.tick_ratio.ticks(nanos)
    }

    /// Returns the ticks in a nanosecond: a whole number, and a fraction in units of 2⁻¹²⁸.
    pub(crate) const fn ticks_per_nano(&self) -> (u64, u128) {
        self.tick_ratio.parts()
    }

    /// Returns the tick at the horizon.
    pub(crate) const fn last_tick(&self) -> u64 {
        self.tick(HORIZON_NANOS)
    }

    /// Returns the state at tick `now`, refill included. The result alone is never written.
    #[inline]
    pub(crate) fn refill_to(&self, state: State, now: u64) -> State {
        // A clock that is behind the stamp is stale: decide as of the stamp.
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
            self.refill_windows(state, elapsed)
        }
    }

    /// Refills after one or more windows. Out of line: it divides, and decisions that do not need
    /// it stay small.
    #[cold]
    #[inline(never)]
    fn refill_windows(&self, state: State, elapsed: u64) -> State {
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

    /// Takes `cost` tokens, at least 1, at tick `now`. The successor is a word whose `spent`
    /// includes the charge.
    ///
    /// Greedy quotas with an advancing clock take the fast path, which does not unpack the word.
    /// With `e` ticks elapsed, the word loses `e * passing`: `e << k` units of `spent`, and `e` is
    /// added to `stamp`. The product exceeds the word exactly when `e << k` exceeds `spent`, since
    /// the new stamp fits its bits. Then the bucket is full, and the word is `now`.
    ///
    /// Most decisions on a busy bucket come within a tick of the previous one. That case has its
    /// own branch, in which the new word does not depend on the clock: the processor predicts the
    /// branch and need not wait for the clock to be read and scaled.
    ///
    /// # Errors
    /// Returns the refilled word when there are too few tokens: nothing is to be written.
    #[inline(always)]
    pub(crate) fn take(&self, word: u64, now: u64, cost: u32) -> Result<u64, u64> {
        if cost > self.greedy_tokens {
            return self.take_slow(self.unpack(word), now, self.units(cost));
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
            return self.take_slow(self.unpack(word), now, self.units(cost));
        }
        match (now - stamp).checked_mul(self.passing) {
            Some(passed) if passed <= word => {
                let refilled = word - passed;
                if refilled <= self.exhausted - charge {
                    Ok(refilled + charge)
                } else {
                    Err(refilled)
                }
            }
            _ => Ok(charge + now),
        }
    }

    /// General path of [`Layout::take`].
    #[cold]
    #[inline(never)]
    fn take_slow(&self, state: State, now: u64, cost: u64) -> Result<u64, u64> {
        let refilled = self.refill_to(state, now);
        match self.capacity.checked_sub(cost) {
            Some(room) if refilled.spent <= room => Ok(self.pack(State {
                spent: refilled.spent + cost,
                stamp: refilled.stamp,
            })),
            _ => Err(self.pack(refilled)),
        }
    }

    /// Takes `cost` units at tick `now`, ahead of time if necessary: ready at tick `latest` or
    /// earlier, and within the debt. `cost` is at most the capacity.
    ///
    /// # Errors
    /// Returns the refilled state and the reason when that is not possible: nothing is to be
    /// written.
    pub(crate) fn reserve(
        &self,
        state: State,
        now: u64,
        cost: u64,
        latest: u64,
    ) -> Result<State, (State, ReserveError)> {
        let refilled = self.refill_to(state, now);
        let spent = self.charge_start(refilled.spent, cost) + cost;
        let sold = State {
            spent,
            stamp: refilled.stamp,
        };
        if spent <= self.capacity {
            Ok(sold)
        } else if spent > self.limit {
            Err((refilled, ReserveError::TooFarAhead))
        } else if self.ready_at(sold) > latest {
            Err((refilled, ReserveError::DeadlineTooSoon))
        } else {
            Ok(sold)
        }
    }

    /// Undoes the charge of `charged` units that left `sold`; the docs of [`state`](super) explain
    /// the rule. Returns `None` when nothing can be given back any more.
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

    /// Undoes a charge like [`Layout::refund`], during a pause that began after it. One unit stays in
    /// debt, so that nothing is granted before the end of the pause, and no earlier charge gives
    /// units back.
    pub(crate) fn refund_in_pause(&self, state: State, sold: State, charged: u64) -> Option<State> {
        let refunded = self.refund(state, sold, charged)?;
        let least = state.spent.min(self.capacity + 1);
        let spent = refunded.spent.max(least);
        (spent < state.spent).then_some(State { spent, ..refunded })
    }

    fn refundable_greedy(&self, state: State, sold: State, charged: u64) -> u64 {
        if self.is_in_debt(state) {
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
        if self.is_in_debt(state) {
            let is_last = windows
                .saturating_mul(self.capacity)
                .saturating_add(state.spent)
                == sold.spent;
            return if is_last { charged } else { 0 };
        }
        let used_in = sold.spent.saturating_sub(1) / self.capacity;
        if windows != used_in {
            return 0;
        }
        // The skipped rest belongs to the previous window.
        let in_this_window = sold.spent - used_in * self.capacity;
        if charged < in_this_window {
            charged
        } else {
            in_this_window
        }
    }

    /// Returns a word that any process may have written, as one that a bucket can have at tick `now`.
    #[cfg(feature = "shared")]
    pub(crate) fn repair(&self, word: u64, now: u64) -> u64 {
        let State { spent, stamp } = self.unpack(word);
        self.pack(State {
            spent: spent.min(self.limit),
            stamp: stamp.min(now),
        })
    }

    /// Returns a full bucket at tick `now`, and the first stamp whose decisions are refundable. The
    /// stamp of the full bucket is newer than any before, so that no earlier word recurs. At the
    /// horizon, where there is no newer stamp, no decision is refundable any more.
    pub(crate) fn reset(&self, state: State, now: u64) -> (State, u64) {
        let stamp = self.newer_stamp(state, now);
        let from = if stamp > state.stamp {
            stamp
        } else {
            stamp + 1
        };
        (State { spent: 0, stamp }, from)
    }

    /// Returns an empty bucket that grants nothing before tick `until`, and the first stamp whose
    /// decisions are refundable. A greedy quota's stamp is in the future, and it refills from then
    /// on. An interval quota's window ends then; one in which something is sold ends as it would
    /// have, since windows never overlap. Returns `None` when the pause is over already, or windows
    /// after it are sold: they stay sold.
    ///
    /// Greedy reservations that last longer stay sold, and the last one stays refundable, since the
    /// end of the sold range keeps its place: see [`Layout::refund_in_pause`].
    pub(crate) fn pause(&self, state: State, now: u64, until: u64) -> Option<(State, u64)> {
        if until <= now || until <= state.stamp {
            return None;
        }
        if self.is_greedy() {
            let sold_ahead = self.refill_to(state, until);
            return if self.is_in_debt(sold_ahead) {
                Some((sold_ahead, 0))
            } else {
                Some(self.empty_from(state, until))
            };
        }
        let last = self.refill_to(state, until - 1);
        match last.spent {
            spent if spent > self.capacity => None,
            0 => Some(self.empty_from(state, until.saturating_sub(self.window))),
            // Also when nothing is left to grant: a refund would give tokens back before `until`.
            _ => Some(self.empty_from(state, last.stamp)),
        }
    }

    fn empty_from(&self, state: State, stamp: u64) -> (State, u64) {
        let (full, refundable_from) = self.reset(state, stamp);
        let empty = State {
            spent: self.capacity,
            ..full
        };
        (empty, refundable_from)
    }

    /// Returns the state with a stamp that is moved back to tick `now`, and the first stamp whose
    /// decisions are refundable, or `None` when the stamp is not ahead. That bound is past the old
    /// stamp: a stamp does not distinguish what is sold after the move from what was sold before.
    pub(crate) fn rebase(&self, state: State, now: u64) -> Option<(State, u64)> {
        let rebased = State {
            spent: state.spent,
            stamp: now,
        };
        (now < state.stamp).then_some((rebased, state.stamp + 1))
    }

    /// Returns the state after the first charge of a new key that claims the word. Its stamp is
    /// newer than any stamp of the previous key, so that a word never recurs across keys,
    /// regardless of refunds: a thread that still holds the old word cannot confuse the two (ABA).
    /// `unused` marks a word that has had no key; the all-zero word alone does not imply this,
    /// since a refund in the first tick leaves it too.
    ///
    /// Returns `None` at the horizon, where there may be no newer stamp.
    pub(crate) fn claim(&self, state: State, now: u64, cost: u64, unused: bool) -> Option<State> {
        let stamp = if unused {
            now
        } else {
            self.newer_stamp(state, now)
        };
        if stamp == state.stamp && !unused {
            None
        } else {
            Some(State { spent: cost, stamp })
        }
    }

    /// Returns true when another key can claim the word without losing a charge.
    #[inline]
    pub(crate) fn is_free(&self, state: State, now: u64) -> bool {
        self.refill_to(state, now).spent == 0 && self.newer_stamp(state, now) > state.stamp
    }

    fn newer_stamp(&self, state: State, now: u64) -> u64 {
        if now > state.stamp {
            now
        } else if state.stamp < self.last_tick() {
            state.stamp + 1
        } else {
            state.stamp
        }
    }
}

/// Lets the methods of the scaled quota be called on its layout.
impl Deref for Layout {
    type Target = ScaledQuota;

    #[inline(always)]
    fn deref(&self) -> &ScaledQuota {
        &self.scaled
    }
}

/// Reason that a reservation is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    /// Earlier reservations leave no room for this one.
    TooFarAhead,
    DeadlineTooSoon,
}

/// Bits available for `spent` and `stamp`.
#[derive(Clone, Copy)]
enum BitBudget {
    /// 64 bits in total, of which `spent_bits` hold `spent` in tokens.
    Packed { spent_bits: u32 },
    /// [`UNPACKED_BITS`] for each field.
    Unpacked,
}

/// A double has 53 bits; one bit is reserved for sums.
const UNPACKED_BITS: u32 = 52;

impl BitBudget {
    const fn is_packed(self) -> bool {
        matches!(self, BitBudget::Packed { .. })
    }

    /// Returns true when a `spent` of this width leaves bits for the stamp.
    const fn fits(self, spent_bits: u32) -> bool {
        match self {
            BitBudget::Packed { .. } => spent_bits < 64,
            BitBudget::Unpacked => spent_bits <= UNPACKED_BITS,
        }
    }

    /// Returns the bits left for the stamp when a token is 2ᶠ units.
    const fn stamp_bits(self, f: u32) -> u32 {
        match self {
            BitBudget::Packed { spent_bits } => 64 - spent_bits - f,
            BitBudget::Unpacked => UNPACKED_BITS,
        }
    }
}

/// Returns the number of bits needed to represent `number`.
const fn bits(number: u128) -> u32 {
    128 - number.leading_zeros()
}

/// Returns the whole number of units refilled until the horizon, at `units` per `nanos`. Both are
/// below 2⁹⁴, and there are fewer than 2³³ units a nanosecond. Separating the whole part and the
/// remainder keeps the products within 128 bits for periods of up to a century.
const fn units_to_horizon(units: u128, nanos: u128) -> u128 {
    let horizon = HORIZON_NANOS as u128;
    (units / nanos) * horizon + (units % nanos) * horizon / nanos
}
