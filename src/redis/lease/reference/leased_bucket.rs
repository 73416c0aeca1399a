//! Bucket of one key and the leases granted from it: the reference implementation of `lease.lua`,
//! except for its pauses.
//!
//! Every number is a non-negative integer below 2⁵³, so that the script, whose numbers are doubles,
//! is exact. Time is the server's, in microseconds.
//!
//! **Crediting returned tokens.** Tokens that are returned unspent must not be credited a second
//! time by refill. Let `spent(t)` be the number of tokens spent from the bucket. If the returned
//! tokens had never been taken, the bucket would have been full for longer if it was that close to
//! full at any time since they were taken. So of `n` returned tokens, `min(n, the minimum of spent
//! since they were taken)` may be credited, and that is exact. `spent` is lowest just before the
//! next charge, so each lease stores this minimum as `refundable`:
//!
//! - A charge lowers it to the `spent` that the charge finds.
//! - Tokens credited for one lease are subtracted from the `refundable` of the others: without
//!   these tokens, later charges would have found that much less.
//! - A renewed lease keeps its held tokens under its old `refundable` or that of the new grant,
//!   whichever is greater: tokens are spent in the order in which they were taken.
//!
//! In an interval quota the same numbers ensure that no token of an earlier window is credited.
//!
//! [`Layout::refund`] gives a lower bound of the same number without a history, for decisions on
//! single requests. It would credit nothing for a lease that was out for as long as its tokens take
//! to refill, which is always the case for a busy key.

use crate::{
    redis::lease::protocol::{LeaseReply, LeaseRequest, Limits, tick_at_micros},
    state::{Layout, State},
};

/// Number of leases stored for one key. Further holders take tokens from the bucket itself.
pub(super) const MAX_LEASES: usize = 32;

/// Value stored for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::redis::lease) struct LeasedBucket {
    pub(super) state: State,
    /// Ordered by the time of their last request, the oldest first.
    pub(super) leases: Vec<Lease>,
    /// Ticks by which the stamp may be ahead of the clock.
    tolerance: u64,
}

/// Tokens that one holder has on lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) holder: u64,
    /// Sequence number of the last request that was answered.
    pub(super) seq: u64,
    /// Tokens that the holder may have, including `unacked`.
    pub(super) tokens: u32,
    /// Tokens granted by the last reply, which may not have arrived.
    pub(super) unacked: u32,
    /// Maximum number of units to credit for the tokens that were granted earlier.
    pub(super) refundable: u64,
    /// Maximum number of units to credit for the tokens of `unacked`.
    pub(super) unacked_refundable: u64,
    /// Server time at which the lease ends. Set to 0 once it has ended, so that a clock that steps
    /// back cannot revive it.
    pub(super) expiry: u64,
}

impl LeasedBucket {
    /// Creates the bucket of a new key: full, without leases, and never rebased.
    pub(super) fn new() -> LeasedBucket {
        LeasedBucket::with_tolerance(u64::MAX)
    }

    /// Creates the bucket of a new key, whose stamp may be `tolerance` ticks ahead of the clock.
    pub(super) fn with_tolerance(tolerance: u64) -> LeasedBucket {
        LeasedBucket {
            state: State { spent: 0, stamp: 0 },
            leases: Vec::new(),
            tolerance,
        }
    }

    /// Rebases a bucket whose stamp is too far ahead, as `clock.lua` explains. Returns whether it
    /// was, and is another incarnation now.
    pub(super) fn rebase(&mut self, layout: &Layout, now: u64) -> bool {
        let tick = tick_at_micros(layout, now);
        let is_ahead = self.state.stamp.saturating_sub(tick) > self.tolerance;
        if is_ahead {
            self.state.stamp = tick;
        }
        is_ahead
    }

    /// Handles a request. `None` if it is older than a request that was answered already: then
    /// nothing changes.
    pub(super) fn handle(
        &mut self,
        layout: &Layout,
        limits: &Limits,
        now: u64,
        request: &LeaseRequest,
    ) -> Option<LeaseReply> {
        self.rebase(layout, now);
        // A lease that ends later than a lease from now is from before a step back of the clock.
        for lease in &mut self.leases {
            lease.expiry = lease.expiry.min(now + limits.lifetime_micros);
        }
        let found = self
            .leases
            .iter()
            .position(|lease| lease.holder == request.holder);
        if let Some(lease) = found.map(|index| &self.leases[index])
            && request.seq <= lease.seq
        {
            // A repeated request, duplicated by the network or retried by a client, gets the same
            // reply.
            let repeated = LeaseReply {
                seq: request.seq,
                granted: lease.unacked,
                kept: lease.tokens - lease.unacked,
                now,
                state: self.state,
            };
            return (request.seq == lease.seq).then_some(repeated);
        }
        let kept = found.map_or(0, |index| self.settle_lease(layout, now, index, request));
        let granted = self.grant(layout, limits, now, request, kept, found.is_some());
        if found.is_some() || granted > 0 {
            self.end_expired_leases(now);
            self.store_lease(now + limits.lifetime_micros, request, kept, granted);
        }
        Some(LeaseReply {
            seq: request.seq,
            granted,
            kept,
            now,
            state: self.state,
        })
    }

    /// Takes tokens from the bucket itself. Returns the state after the charge, or the state that
    /// refused it.
    pub(super) fn take(&mut self, layout: &Layout, now: u64, cost: u32) -> Result<State, State> {
        self.rebase(layout, now);
        let settled = layout.refill_to(self.state, tick_at_micros(layout, now));
        if cost > layout.remaining(settled.spent) {
            return Err(settled);
        }
        if cost > 0 {
            self.charge(layout, now, layout.units(cost));
        }
        Ok(self.state)
    }

    /// Undoes a charge by [`LeasedBucket::take`].
    pub(super) fn refund(&mut self, layout: &Layout, sold: State, charged: u64) -> bool {
        let Some(state) = layout.refund(self.state, sold, charged) else {
            return false;
        };
        self.credit(self.state.spent - state.spent, 0);
        true
    }

    /// Fills the bucket. Tokens on lease stay out, and are not credited when they are returned.
    pub(super) fn reset(&mut self, layout: &Layout, now: u64) {
        self.rebase(layout, now);
        self.state = layout.reset(self.state, tick_at_micros(layout, now)).0;
        self.leases
            .iter_mut()
            .for_each(|lease| lease.update_refundable(|_| 0));
    }

    /// Returns the number of tokens on lease.
    pub(super) fn leased(&self, now: u64) -> u32 {
        self.leases
            .iter()
            .filter(|lease| lease.is_live(now))
            .map(|lease| lease.tokens)
            .sum()
    }

    /// Marks expired leases as ended, whenever the value is written anyway. They do not count from
    /// then on, whatever the clock does. Their tokens stay debited.
    fn end_expired_leases(&mut self, now: u64) {
        for lease in &mut self.leases {
            if !lease.is_live(now) {
                lease.expiry = 0;
            }
        }
    }

    /// Removes spent tokens from a lease, credits returned tokens, and returns the number of tokens
    /// that the holder keeps.
    fn settle_lease(
        &mut self,
        layout: &Layout,
        now: u64,
        index: usize,
        request: &LeaseRequest,
    ) -> u32 {
        let lease = &mut self.leases[index];
        // A reply that had not arrived when the next request was sent is never used.
        let abandoned = if request.acked == lease.seq {
            0
        } else {
            lease.unacked
        };
        let held = lease.tokens - abandoned;
        let kept = if lease.is_live(now) && request.kept <= held {
            request.kept
        } else {
            0
        };
        let unspent = abandoned + request.returned.min(held.saturating_sub(request.kept));
        self.credit_unspent(layout, index, unspent);
        let lease = &mut self.leases[index];
        lease.refundable = lease.refundable_of_last(layout, kept);
        kept
    }

    /// Credits the unspent tokens of a lease, the last taken first.
    fn credit_unspent(&mut self, layout: &Layout, index: usize, unspent: u32) {
        let lease = &mut self.leases[index];
        let (unacked, refundable) = (unspent.min(lease.unacked), lease.unacked_refundable);
        lease.unacked -= unacked;
        self.credit(layout.units(unacked).min(refundable), refundable);
        let refundable = self.leases[index].refundable;
        self.credit(layout.units(unspent - unacked).min(refundable), refundable);
    }

    /// Charges the bucket with the tokens to grant, and returns their number.
    fn grant(
        &mut self,
        layout: &Layout,
        limits: &Limits,
        now: u64,
        request: &LeaseRequest,
        kept: u32,
        has_lease: bool,
    ) -> u32 {
        let others = self
            .leases
            .iter()
            .filter(|lease| lease.holder != request.holder && lease.is_live(now));
        let leased: u32 = others.map(|lease| lease.tokens).sum::<u32>() + kept;
        let settled = layout.refill_to(self.state, tick_at_micros(layout, now));
        let spare = limits
            .max_leased
            .saturating_sub(leased)
            .min(layout.remaining(settled.spent));
        // Half of the spare tokens stay for other holders, unless callers are waiting for them.
        let need = request.need.saturating_sub(kept);
        let granted = request.want.max(need).min(need.max(spare.div_ceil(2)));
        if granted == 0 || granted > spare || !(has_lease || self.make_room(now)) {
            return 0;
        }
        self.charge(layout, now, layout.units(granted));
        granted
    }

    /// Returns whether there is room for another lease. If necessary, it evicts the ended lease
    /// with the oldest last request.
    fn make_room(&mut self, now: u64) -> bool {
        if self.leases.len() < MAX_LEASES {
            return true;
        }
        let ended = self.leases.iter().position(|lease| !lease.is_live(now));
        ended.map(|index| self.leases.remove(index)).is_some()
    }

    fn store_lease(&mut self, expiry: u64, request: &LeaseRequest, kept: u32, granted: u32) {
        let previous = self
            .leases
            .iter()
            .position(|lease| lease.holder == request.holder);
        let refundable = previous.map_or(0, |index| self.leases.remove(index).refundable);
        self.leases.push(Lease {
            holder: request.holder,
            seq: request.seq,
            tokens: kept + granted,
            unacked: granted,
            refundable,
            unacked_refundable: self.state.spent,
            expiry,
        });
    }

    fn charge(&mut self, layout: &Layout, now: u64, units: u64) {
        let settled = layout.refill_to(self.state, tick_at_micros(layout, now));
        self.leases.iter_mut().for_each(|lease| {
            lease.update_refundable(|refundable| refundable.min(settled.spent));
        });
        self.state = State {
            spent: settled.spent + units,
            stamp: settled.stamp,
        };
    }

    /// Credits units of a charge since which `spent` was at least `least`. A lease with a lower
    /// `refundable` found a lower `spent` before that charge. It is only capped at `least - units`.
    fn credit(&mut self, units: u64, least: u64) {
        self.state.spent -= units;
        self.leases.iter_mut().for_each(|lease| {
            lease.update_refundable(|refundable| {
                refundable.min(refundable.max(least).saturating_sub(units))
            });
        });
    }
}

impl Lease {
    /// Returns the maximum number of units to credit for the `tokens` that were taken last.
    fn refundable_of_last(&self, layout: &Layout, tokens: u32) -> u64 {
        if tokens <= self.unacked {
            return self.unacked_refundable;
        }
        self.unacked_refundable
            .min(self.refundable.max(layout.units(self.unacked)))
    }

    fn update_refundable(&mut self, update: impl Fn(u64) -> u64) {
        (self.refundable, self.unacked_refundable) =
            (update(self.refundable), update(self.unacked_refundable));
    }

    fn is_live(&self, now: u64) -> bool {
        now < self.expiry
    }
}

mod tests;
