//! Where a key's bucket is: in the table, or, for a key with a quota of its own, in its rule.

use std::time::Duration;

use super::{
    generation::{Generation, Rule},
    memory::Place,
    table::Table,
};
use crate::{attempt::Attempt, clock::Time, decision::Decision};

/// The bucket of one key, in one generation.
pub(super) enum Owner<'a> {
    Rule(&'a Rule),
    Table {
        table: &'a Table,
        place: Place,
        origin: u32,
    },
}

impl Generation {
    #[inline]
    pub(super) fn owner(&self, hash: u64) -> Owner<'_> {
        match self.rule(hash) {
            Some(rule) => Owner::Rule(rule),
            None => Owner::Table {
                table: &self.table,
                place: self.table.place(hash),
                origin: self.table_origin,
            },
        }
    }

    /// See [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    #[inline(always)]
    pub(super) fn decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        if self.rules.is_empty()
            && let Some(decision) = self.table.hit(hash, time, cost)
        {
            return decision.with_origin(self.table_origin);
        }
        self.decide_anyhow(hash, time, cost)
    }

    /// A rule, a new key, a slot that others want: what is not the everyday case. Apart, so that
    /// the everyday one becomes part of its callers.
    #[cold]
    #[inline(never)]
    fn decide_anyhow(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        self.owner(hash).take(time.nanos(), cost)
    }
}

impl Owner<'_> {
    fn take(&self, now_nanos: u64, cost: u32) -> Decision {
        match self {
            Owner::Rule(rule) => rule
                .bucket
                .decide(Attempt::immediate(rule.bucket.layout(), now_nanos, cost))
                .with_origin(rule.origin),
            Owner::Table {
                table,
                place,
                origin,
            } => table
                .decide(place, &Attempt::immediate(&table.layout, now_nanos, cost))
                .with_origin(*origin),
        }
    }

    /// See [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    pub(super) fn reserve(&self, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        match self {
            Owner::Rule(rule) => rule
                .bucket
                .decide_reservation(Attempt::reservation(
                    rule.bucket.layout(),
                    now_nanos,
                    cost,
                    max_wait,
                ))
                .with_origin(rule.origin),
            Owner::Table {
                table,
                place,
                origin,
            } => table
                .queue(
                    place,
                    &Attempt::reservation(&table.layout, now_nanos, cost, max_wait),
                )
                .with_origin(*origin),
        }
    }

    /// See [`Bucket::refund`](crate::Bucket::refund). Gives nothing for a decision that was made
    /// elsewhere.
    pub(super) fn refund(&self, decision: Decision) -> bool {
        self.origin() == decision.origin()
            && match self {
                Owner::Rule(rule) => rule.bucket.refund(decision),
                Owner::Table { table, place, .. } => table.refund(place, decision),
            }
    }

    pub(super) fn reset(&self, now_nanos: u64) {
        match self {
            Owner::Rule(rule) => rule.bucket.reset_at(Duration::from_nanos(now_nanos)),
            Owner::Table { table, place, .. } => table.reset(place, now_nanos),
        }
    }

    pub(super) fn origin(&self) -> u32 {
        match self {
            Owner::Rule(rule) => rule.origin,
            Owner::Table { origin, .. } => *origin,
        }
    }
}
