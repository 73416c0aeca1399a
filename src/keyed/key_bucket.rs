//! Bucket of one key: in the table or, if the key has its own quota, in its rule.

use std::time::Duration;

use super::{rule::Rule, sets::Probe, table::Table};
use crate::{
    attempt::Attempt,
    clock::Time,
    decision::{Decision, DecisionView},
    origin::Origin,
};

/// Bucket of one key in one generation.
pub(super) struct KeyBucket<'a> {
    /// Origin of its decisions.
    pub(super) origin: Origin,
    pub(super) place: Place<'a>,
}

/// Place of a key's bucket.
pub(super) enum Place<'a> {
    Rule(&'a Rule),
    Table { table: &'a Table, probe: Probe },
}

impl KeyBucket<'_> {
    /// See [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    pub(super) fn take(&self, time: Time<'_>, cost: u32) -> Decision {
        let now_nanos = time.nanos();
        let decision = match &self.place {
            Place::Rule(rule) => {
                rule.bucket
                    .decide(Attempt::immediate(rule.bucket.layout(), now_nanos, cost))
            }
            Place::Table { table, probe } => {
                table.decide(probe, &Attempt::immediate(&table.layout, now_nanos, cost))
            }
        };
        decision.with_origin(self.origin)
    }

    /// See [`Bucket::look_at`](crate::Bucket::look_at).
    pub(super) fn look(&self, now_nanos: u64, cost: u32) -> DecisionView {
        match &self.place {
            Place::Rule(rule) => rule.bucket.look_at(Duration::from_nanos(now_nanos), cost),
            Place::Table { table, probe } => {
                let attempt = Attempt::immediate(&table.layout, now_nanos, cost);
                // The bucket of an unknown key is full.
                attempt.look(table.word_of(probe).map_or(0, |(_, word)| word))
            }
        }
    }

    /// See [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    pub(super) fn reserve(&self, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        let decision = match &self.place {
            Place::Rule(rule) => rule.bucket.decide(Attempt::reservation(
                rule.bucket.layout(),
                now_nanos,
                cost,
                max_wait,
            )),
            Place::Table { table, probe } => table.decide(
                probe,
                &Attempt::reservation(&table.layout, now_nanos, cost, max_wait),
            ),
        };
        decision.with_origin(self.origin)
    }

    /// Undoes a decision on this key; see [`Bucket::refund`](crate::Bucket::refund). Refunds
    /// nothing for a decision of an earlier table or rule.
    pub(super) fn refund(&self, decision: &Decision) -> bool {
        let charge: &DecisionView = decision;
        self.origin == decision.origin()
            && match &self.place {
                Place::Rule(rule) => rule.bucket.refund_charge(charge),
                Place::Table { table, probe } => table.refund(probe, charge),
            }
    }

    pub(super) fn reset(&self, now_nanos: u64) {
        match &self.place {
            Place::Rule(rule) => rule.bucket.reset_at(Duration::from_nanos(now_nanos)),
            Place::Table { table, probe } => table.reset(probe, now_nanos),
        }
    }

    /// Returns true when a reservation is valid: it was made here, and no reset has come since.
    #[cfg(feature = "tokio")]
    pub(super) fn counts(&self, decision: &Decision) -> bool {
        let stamp = decision.charge().0.stamp;
        self.origin == decision.origin()
            && match &self.place {
                Place::Rule(rule) => rule.bucket.is_refundable(stamp),
                Place::Table { table, probe } => table.counts(probe, stamp),
            }
    }
}
