//! A quota scaled to integer units and ticks, independent of the packing of the word.

use super::{snapshot::State, tick_ratio::HORIZON_NANOS};

/// A quota in units of tokens and ticks of time; see [`Layout`](super::Layout) for both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScaledQuota {
    /// Units in a full bucket.
    pub(crate) capacity: u64,
    /// Ticks in a window; 0 for a greedy quota.
    pub(crate) window: u64,
    /// Upper bound on sold units: capacity and debt.
    pub(super) limit: u64,
    /// Units refilled (for interval quotas: ticks passed) ...
    pub(super) refill: u64,
    /// ... in this many nanoseconds.
    pub(super) nanos: u64,
    /// f: a token is 2ᶠ units.
    pub(super) unit_bits: u8,
    /// k: a tick refills 2ᵏ units.
    pub(crate) tick_bits: u8,
}

impl ScaledQuota {
    #[inline]
    pub(crate) const fn units(&self, tokens: u32) -> u64 {
        (tokens as u64) << self.unit_bits
    }

    /// Returns the number of whole tokens left when `spent` units are taken.
    #[inline]
    pub(crate) const fn remaining(&self, spent: u64) -> u32 {
        // At most the capacity, which is a u32.
        (self.capacity.saturating_sub(spent) >> self.unit_bits) as u32
    }

    /// Returns true when tokens refill evenly.
    #[inline]
    pub(crate) const fn is_greedy(&self) -> bool {
        self.window == 0
    }

    /// Returns the capacity in tokens.
    #[inline]
    pub(crate) const fn capacity_tokens(&self) -> u32 {
        self.remaining(0)
    }

    /// Returns the offset at which a charge begins. In an interval quota, a charge that does not
    /// fit the rest of a window waits for the next window as a whole: no window ever gives more
    /// than its capacity.
    pub(super) const fn charge_start(&self, spent: u64, cost: u64) -> u64 {
        if self.is_greedy() || cost == 0 {
            return spent;
        }
        let last = (spent + cost - 1) / self.capacity;
        if last > spent / self.capacity {
            last * self.capacity
        } else {
            spent
        }
    }

    /// Returns the number of tokens refilled in a period, for greedy quotas.
    pub(crate) const fn tokens(&self) -> u64 {
        self.refill >> self.unit_bits
    }

    /// Returns the period in which [`ScaledQuota::tokens`] refill; for interval quotas, the window.
    pub(crate) const fn period_nanos(&self) -> u64 {
        self.nanos
    }

    /// Returns the number of tokens that may be sold beyond the capacity.
    #[cfg(tollgate_loom)]
    pub(crate) const fn headroom_tokens(&self) -> u32 {
        ((self.limit - self.capacity) >> self.unit_bits) as u32
    }

    /// Returns true when more than the capacity is sold: there are waiters.
    #[inline]
    pub(crate) const fn is_in_debt(&self, state: State) -> bool {
        state.spent > self.capacity
    }

    /// Returns the tick at which the charge that left `sold` may be used.
    pub(crate) const fn ready_at(&self, sold: State) -> u64 {
        if !self.is_in_debt(sold) {
            return sold.stamp;
        }
        let ticks = if self.is_greedy() {
            (sold.spent - self.capacity).div_ceil(1 << self.tick_bits)
        } else {
            ((sold.spent - 1) / self.capacity).saturating_mul(self.window)
        };
        // Saturates for an estimate alone: a word sells at most one capacity ahead.
        sold.stamp.saturating_add(ticks)
    }

    /// Returns the first tick at which a charge of `cost` units would be allowed if no other charge
    /// comes in between.
    pub(crate) const fn allowed_at(&self, refilled: State, cost: u64) -> u64 {
        let spent = self.charge_start(refilled.spent, cost) + cost;
        self.ready_at(State {
            spent,
            stamp: refilled.stamp,
        })
    }

    /// Returns the first tick at which a charge of `cost` tokens would be allowed after others of
    /// `ahead` tokens in total. An estimate for interval quotas: a charge that does not fit the rest
    /// of a window waits for the next window.
    pub(crate) const fn allowed_behind(&self, refilled: State, ahead: u64, cost: u32) -> u64 {
        let total = ahead.saturating_add(cost as u64);
        let units = total.saturating_mul(1 << self.unit_bits);
        let sold = State {
            spent: refilled.spent.saturating_add(units),
            stamp: refilled.stamp,
        };
        self.ready_at(sold)
    }

    /// Returns the first tick at which the bucket is full again.
    pub(crate) const fn full_at(&self, refilled: State) -> u64 {
        let ticks = if self.is_greedy() {
            refilled.spent.div_ceil(1 << self.tick_bits)
        } else {
            refilled.spent.div_ceil(self.capacity) * self.window
        };
        refilled.stamp + ticks
    }

    /// Returns the time in which an empty bucket becomes full, rounded up; for interval quotas, the
    /// window.
    pub(crate) const fn window_nanos(&self) -> u64 {
        let units = if self.is_greedy() {
            self.capacity
        } else {
            self.window << self.tick_bits
        };
        let nanos = (units as u128)
            .saturating_mul(self.nanos as u128)
            .div_ceil(self.refill as u128);
        if nanos > u64::MAX as u128 {
            u64::MAX
        } else {
            nanos as u64
        }
    }

    /// Returns the position of a tick on the axis of refilled units, for greedy quotas.
    pub(crate) const fn position(&self, tick: u64) -> u64 {
        tick << self.tick_bits
    }

    /// Returns the end of the sold range on that axis.
    pub(crate) const fn end(&self, state: State) -> u64 {
        self.position(state.stamp) + state.spent
    }

    /// Returns the first nanosecond of `tick`, or `None` when it is past the horizon.
    pub(crate) const fn nanos_at(&self, tick: u64) -> Option<u64> {
        // Within the horizon fewer than 2⁶¹ units are refilled, and a period is below 2⁶² ns; a
        // product that saturates is past the horizon.
        let units = (tick as u128) << self.tick_bits;
        let nanos = units
            .saturating_mul(self.nanos as u128)
            .div_ceil(self.refill as u128);
        if nanos > HORIZON_NANOS as u128 {
            None
        } else {
            Some(nanos as u64)
        }
    }

    /// Returns the length of a tick, rounded up.
    pub(crate) const fn resolution_nanos(&self) -> u64 {
        // At most 2²⁹ units a tick, and at most a century for each.
        let nanos = ((self.nanos as u128) << self.tick_bits).div_ceil(self.refill as u128);
        if nanos > u64::MAX as u128 {
            u64::MAX
        } else {
            nanos as u64
        }
    }
}
