//! What a quota means in units and ticks, whatever the word looks like: when something is ready,
//! enough, or full.

use super::{State, scale::HORIZON_NANOS};

/// A quota in units of tokens and ticks of time; see [`Layout`](super::Layout) for both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Units in a full bucket.
    pub(crate) capacity: u64,
    /// Ticks in a window; 0 for a greedy quota.
    pub(crate) window: u64,
    /// Units that may be sold at all: capacity and debt.
    pub(super) limit: u64,
    /// This many units come back (of an interval quota: ticks pass) ...
    pub(super) refill: u64,
    /// ... in this many nanoseconds.
    pub(super) nanos: u64,
    /// f: a token is 2ᶠ units.
    pub(super) unit_bits: u8,
    /// k: a tick refills 2ᵏ units.
    pub(crate) tick_bits: u8,
}

impl Terms {
    #[inline]
    pub(crate) const fn units(&self, tokens: u32) -> u64 {
        (tokens as u64) << self.unit_bits
    }

    /// Whole tokens left when `spent` units are out.
    #[inline]
    pub(crate) const fn remaining(&self, spent: u64) -> u32 {
        // At most the capacity, which is a u32.
        (self.capacity.saturating_sub(spent) >> self.unit_bits) as u32
    }

    /// Whether tokens drip back evenly.
    #[inline]
    pub(crate) const fn is_greedy(&self) -> bool {
        self.window == 0
    }

    /// The capacity in tokens.
    #[inline]
    pub(crate) const fn capacity_tokens(&self) -> u32 {
        self.remaining(0)
    }

    /// Where a charge begins. In an interval quota one that does not fit the rest of a window waits
    /// for the next one as a whole: no window ever gives more than its capacity.
    pub(super) const fn start(&self, spent: u64, cost: u64) -> u64 {
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

    /// The first tick at which a charge of `cost` units would pass, if nobody takes anything in
    /// between.
    pub(crate) const fn enough_at(&self, settled: State, cost: u64) -> u64 {
        let spent = self.start(settled.spent, cost) + cost;
        self.ready(State {
            spent,
            stamp: settled.stamp,
        })
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

    /// How long an empty bucket takes to be full again, rounded up; of an interval quota, its
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

    /// Where a tick lies on the axis of refilled units, for greedy quotas.
    pub(crate) const fn position(&self, tick: u64) -> u64 {
        tick << self.tick_bits
    }

    /// The end of what is sold, on that axis.
    pub(crate) const fn end(&self, state: State) -> u64 {
        self.position(state.stamp) + state.spent
    }

    /// The first nanosecond at which `tick` has come; `None` when that is behind the horizon.
    pub(crate) const fn nanos_at(&self, tick: u64) -> Option<u64> {
        // Within the horizon fewer than 2⁶¹ units come back, and a period is below 2⁶² ns; what
        // saturates is behind it.
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

    /// How long a tick is, rounded up.
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
