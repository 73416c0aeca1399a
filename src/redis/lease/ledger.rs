//! What the server keeps for one key whose tokens are leased: the bucket, and who holds how much of
//! what was taken from it.
//!
//! This is the reference of the script that does the same inside the server. Every number is a
//! non-negative integer below 2⁵³, so that the script, whose numbers are doubles, is exact; time is
//! the server's, in microseconds.
//!
//! **Giving back.** Tokens that come back unspent must not be given a second time by refill. Let
//! `spent(t)` be what the bucket has lent out. Had the returned tokens never been taken, the bucket
//! would have been full a while longer, if it was that little below full at any time since: so of
//! `n` tokens, `min(n, the least that spent has been since they were taken)` may come off, and that
//! is exact. The least is where the next charge meets the bucket, so a lease carries it, as `owed`:
//! a charge lowers it to what it finds, and what one lease gives back comes off what the others are
//! owed (without it they would have been met by that much less). A lease that is renewed keeps what
//! it holds, under the same `owed` or what is newly taken, whichever is more: spent first is what
//! was taken first. In an interval quota the same numbers say that nothing of an earlier window
//! comes back.
//!
//! [`Layout::refund`] gives a lower bound of the same without a history, for decisions made one by
//! one. It would give nothing of a lease that was out for as long as its tokens take to refill,
//! which for a busy key is always.

use super::{Ask, Limits, Reply, tick};
use crate::state::{Layout, State};

/// As many leases as are kept for one key; whoever comes later takes tokens one by one.
pub(crate) const MOST_LEASES: usize = 32;

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) state: State,
    /// Those that were heard of least recently come first.
    pub(crate) leases: Vec<Lease>,
}

/// What one process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) node: u64,
    /// The last request that was answered.
    pub(crate) seq: u64,
    /// Tokens the process may be holding, those of `fresh` included.
    pub(crate) tokens: u32,
    /// What the last answer granted; whether it arrived is not known yet.
    pub(crate) fresh: u32,
    /// Units: the most that can come back of those that were granted before.
    pub(crate) owed: u64,
    /// Units: the most that can come back of those of `fresh`.
    pub(crate) fresh_owed: u64,
    /// The server's time at which it ends; 0 once it was seen to have ended, so that a clock that
    /// steps back cannot revive it.
    pub(crate) expiry: u64,
}

impl Ledger {
    /// A key that nothing is known of: a full bucket, and nothing out on lease.
    pub(crate) fn new() -> Ledger {
        Ledger {
            state: State { spent: 0, stamp: 0 },
            leases: Vec::new(),
        }
    }

    /// Answers a request. `None`: it is older than one that was answered already, and changes
    /// nothing.
    pub(crate) fn ask(
        &mut self,
        layout: &Layout,
        limits: &Limits,
        now: u64,
        ask: &Ask,
    ) -> Option<Reply> {
        let found = self.leases.iter().position(|lease| lease.node == ask.node);
        if let Some(lease) = found.map(|index| &self.leases[index])
            && ask.seq <= lease.seq
        {
            // The same one again, sent twice by the network or by a client that tries again, gets
            // the same answer.
            let kept = lease.tokens - lease.fresh;
            let again = Reply {
                seq: ask.seq,
                granted: lease.fresh,
                kept,
                now,
                state: self.state,
            };
            return (ask.seq == lease.seq).then_some(again);
        }
        let kept = found.map_or(0, |index| self.settle_lease(layout, now, index, ask));
        let granted = self.grant(layout, limits, now, ask, kept, found.is_some());
        if found.is_some() || granted > 0 {
            self.end_leases(now);
            self.note(now + limits.lifetime, ask, kept, granted);
        }
        Some(Reply {
            seq: ask.seq,
            granted,
            kept,
            now,
            state: self.state,
        })
    }

    /// Takes tokens one by one, beside the leases: the state that the charge left, or that refused
    /// it.
    pub(crate) fn take(&mut self, layout: &Layout, now: u64, cost: u32) -> Result<State, State> {
        let settled = layout.refill_to(self.state, tick(layout, now));
        if cost > layout.remaining(settled.spent) {
            return Err(settled);
        }
        if cost > 0 {
            self.charge(layout, now, layout.units(cost));
        }
        Ok(self.state)
    }

    /// Undoes a charge made by [`Ledger::take`].
    pub(crate) fn refund(&mut self, layout: &Layout, sold: State, charged: u64) -> bool {
        let Some(state) = layout.refund(self.state, sold, charged) else {
            return false;
        };
        self.come_back(self.state.spent - state.spent, 0);
        true
    }

    /// Makes the bucket full. What is out on lease stays out, and nothing of it comes back.
    pub(crate) fn reset(&mut self, layout: &Layout, now: u64) {
        self.state = layout.reset(self.state, tick(layout, now)).0;
        self.leases.iter_mut().for_each(|lease| lease.owe(|_| 0));
    }

    /// Tokens out on lease.
    pub(crate) fn out(&self, now: u64) -> u32 {
        self.leases
            .iter()
            .filter(|lease| lease.is_live(now))
            .map(|lease| lease.tokens)
            .sum()
    }

    /// For good, where something is written anyway: they count no more, whatever the clock does
    /// next. Their tokens stay debited.
    fn end_leases(&mut self, now: u64) {
        for lease in &mut self.leases {
            if !lease.is_live(now) {
                lease.expiry = 0;
            }
        }
    }

    /// Takes note of what was spent and gives back what was not: what the process goes on holding.
    fn settle_lease(&mut self, layout: &Layout, now: u64, index: usize, ask: &Ask) -> u32 {
        let lease = &mut self.leases[index];
        // An answer that had not arrived when the next request was sent is not used any more.
        let abandoned = if ask.known == lease.seq {
            0
        } else {
            lease.fresh
        };
        let held = lease.tokens - abandoned;
        let kept = if lease.is_live(now) && ask.kept <= held {
            ask.kept
        } else {
            0
        };
        let unspent = abandoned + ask.back.min(held.saturating_sub(ask.kept));
        self.give_back(layout, index, unspent);
        let lease = &mut self.leases[index];
        lease.owed = lease.owed_of(layout, kept);
        kept
    }

    /// What was taken last comes back first.
    fn give_back(&mut self, layout: &Layout, index: usize, unspent: u32) {
        let lease = &mut self.leases[index];
        let (fresh, owed) = (unspent.min(lease.fresh), lease.fresh_owed);
        lease.fresh -= fresh;
        self.come_back(layout.units(fresh).min(owed), owed);
        let owed = self.leases[index].owed;
        self.come_back(layout.units(unspent - fresh).min(owed), owed);
    }

    fn grant(
        &mut self,
        layout: &Layout,
        limits: &Limits,
        now: u64,
        ask: &Ask,
        kept: u32,
        known: bool,
    ) -> u32 {
        let others = self
            .leases
            .iter()
            .filter(|lease| lease.node != ask.node && lease.is_live(now));
        let out: u32 = others.map(|lease| lease.tokens).sum::<u32>() + kept;
        let settled = layout.refill_to(self.state, tick(layout, now));
        let spare = limits
            .most
            .saturating_sub(out)
            .min(layout.remaining(settled.spent));
        // Half of what there is stays for others, unless somebody is waiting for it.
        let need = ask.need.saturating_sub(kept);
        let granted = ask.want.max(need).min(need.max(spare.div_ceil(2)));
        if granted == 0 || granted > spare || !(known || self.make_room(now)) {
            return 0;
        }
        self.charge(layout, now, layout.units(granted));
        granted
    }

    /// Forgets the lease that ended and was heard of least recently, if there is no room for
    /// another.
    fn make_room(&mut self, now: u64) -> bool {
        if self.leases.len() < MOST_LEASES {
            return true;
        }
        let ended = self.leases.iter().position(|lease| !lease.is_live(now));
        ended.map(|index| self.leases.remove(index)).is_some()
    }

    fn note(&mut self, expiry: u64, ask: &Ask, kept: u32, fresh: u32) {
        let before = self.leases.iter().position(|lease| lease.node == ask.node);
        let owed = before.map_or(0, |index| self.leases.remove(index).owed);
        let (node, seq, tokens, fresh_owed) = (ask.node, ask.seq, kept + fresh, self.state.spent);
        self.leases.push(Lease {
            node,
            seq,
            tokens,
            fresh,
            owed,
            fresh_owed,
            expiry,
        });
    }

    fn charge(&mut self, layout: &Layout, now: u64, units: u64) {
        let settled = layout.refill_to(self.state, tick(layout, now));
        self.leases
            .iter_mut()
            .for_each(|lease| lease.owe(|owed| owed.min(settled.spent)));
        self.state = State {
            spent: settled.spent + units,
            stamp: settled.stamp,
        };
    }

    /// Units of a charge since which at least `least` was lent out. Those that are owed less were
    /// met by less before that charge, and lose only what they are owed beyond it.
    fn come_back(&mut self, units: u64, least: u64) {
        self.state.spent -= units;
        self.leases
            .iter_mut()
            .for_each(|lease| lease.owe(|owed| owed.min(owed.max(least).saturating_sub(units))));
    }
}

impl Lease {
    /// The most units that can come back of the `tokens` that were taken last.
    fn owed_of(&self, layout: &Layout, tokens: u32) -> u64 {
        if tokens <= self.fresh {
            return self.fresh_owed;
        }
        self.fresh_owed.min(self.owed.max(layout.units(self.fresh)))
    }

    fn owe(&mut self, change: impl Fn(u64) -> u64) {
        (self.owed, self.fresh_owed) = (change(self.owed), change(self.fresh_owed));
    }

    fn is_live(&self, now: u64) -> bool {
        now < self.expiry
    }
}

mod tests;
