//! Bucket of one key: in the table or, if the key has its own quota, in its rule.

use std::time::Duration;

use super::{rule::Rule, sets::Probe, table::Table};
use crate::{attempt::Attempt, clock::Time, decision::Decision};

/// Bucket of one key in one generation.
pub(super) enum KeyBucket<'a> {
    Rule(&'a Rule),
    Table {
        table: &'a Table,
        probe: Probe,
        origin: u32,
    },
}

impl KeyBucket<'_> {
    /// See [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    pub(super) fn take(&self, time: Time<'_>, cost: u32) -> Decision {
        let now_nanos = time.nanos();
        match self {
            KeyBucket::Rule(rule) => rule
                .bucket
                .decide(Attempt::immediate(rule.bucket.layout(), now_nanos, cost))
                .with_origin(rule.origin),
            KeyBucket::Table {
                table,
                probe,
                origin,
            } => table
                .decide(probe, &Attempt::immediate(&table.layout, now_nanos, cost))
                .with_origin(*origin),
        }
    }

    /// See [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    pub(super) fn reserve(&self, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        match self {
            KeyBucket::Rule(rule) => rule
                .bucket
                .decide_reservation(Attempt::reservation(
                    rule.bucket.layout(),
                    now_nanos,
                    cost,
                    max_wait,
                ))
                .with_origin(rule.origin),
            KeyBucket::Table {
                table,
                probe,
                origin,
            } => table
                .queue(
                    probe,
                    &Attempt::reservation(&table.layout, now_nanos, cost, max_wait),
                )
                .with_origin(*origin),
        }
    }

    /// See [`Bucket::refund`](crate::Bucket::refund). Refunds nothing for a decision of another
    /// origin.
    pub(super) fn refund(&self, decision: Decision) -> bool {
        self.origin() == decision.origin()
            && match self {
                KeyBucket::Rule(rule) => rule.bucket.refund(decision),
                KeyBucket::Table { table, probe, .. } => table.refund(probe, decision),
            }
    }

    pub(super) fn reset(&self, now_nanos: u64) {
        match self {
            KeyBucket::Rule(rule) => rule.bucket.reset_at(Duration::from_nanos(now_nanos)),
            KeyBucket::Table { table, probe, .. } => table.reset(probe, now_nanos),
        }
    }

    /// Returns true when a reservation is valid: it was made here, and no reset has come since.
    #[cfg(feature = "tokio")]
    pub(super) fn counts(&self, decision: Decision) -> bool {
        let stamp = decision.charge().0.stamp;
        self.origin() == decision.origin()
            && match self {
                KeyBucket::Rule(rule) => rule.bucket.is_refundable(stamp),
                KeyBucket::Table { table, probe, .. } => table.counts(probe, stamp),
            }
    }

    fn origin(&self) -> u32 {
        match self {
            KeyBucket::Rule(rule) => rule.origin,
            KeyBucket::Table { origin, .. } => *origin,
        }
    }
}
