//! Simulated process: a lease holder with a clock of its own.

use super::invariants::ensure;
use crate::redis::lease::protocol::{Balance, Holder, Settings};

pub(super) struct Process {
    pub(super) settings: Settings,
    pub(super) holder: Holder,
    pub(super) balance: Balance,
    pub(super) alive: bool,
    pub(super) clock_offset: u64,
    /// Rate of the clock, in thousandths.
    pub(super) clock_rate: u64,
    /// Tokens spent from leases.
    pub(super) admitted: u64,
    /// Costs of the callers that wait for a reply.
    pub(super) waiting: Vec<u32>,
    /// Times at which refused requests were sent, by the process's clock.
    pub(super) refusals: Vec<u64>,
}

impl Process {
    /// Returns the time of the process's clock at a true time.
    pub(super) fn clock(&self, now: u64) -> u64 {
        self.clock_offset + (now / 1000) * self.clock_rate
    }

    /// Returns the true time at which the process's clock has reached `clock`.
    pub(super) fn true_time(&self, clock: u64) -> u64 {
        clock
            .saturating_sub(self.clock_offset)
            .div_ceil(self.clock_rate)
            * 1000
    }

    /// Returns the tokens that the process can spend.
    pub(super) fn spendable(&self, now: u64) -> u32 {
        let held = self.balance.snapshot();
        if self.alive && self.clock(now) < held.expiry {
            held.tokens
        } else {
            0
        }
    }

    /// Returns the tokens that the process can spend, or could spend if a reply in flight extended
    /// its lease.
    pub(super) fn maybe_spendable(&self, now: u64) -> u64 {
        let (held, awaits) = (self.balance.snapshot(), self.holder.awaits_any());
        if self.alive && (awaits || self.clock(now) < held.expiry) {
            u64::from(held.tokens)
        } else {
            0
        }
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.alive && self.holder.awaits(seq)
    }

    /// Records a refused request that was sent at `requested_at`, and checks that there are at most
    /// ten per second.
    pub(super) fn record_refusal(&mut self, requested_at: u64) -> Result<(), String> {
        self.refusals.push(requested_at);
        let recent = self
            .refusals
            .iter()
            .rev()
            .take_while(|&&at| requested_at - at < 1_000_000_000)
            .count();
        ensure(recent <= 10, || {
            format!("{recent} refused requests in one second")
        })
    }
}
