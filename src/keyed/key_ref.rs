//! Reference to a key's bucket that is independent of the types of the key and the hasher.

use super::{
    current::{CurrentGeneration, HeldGenerations},
    generation::Generation,
    key_bucket::KeyBucket,
    rule::Rule,
    sets::Sets,
    table::Table,
};
use crate::{
    attempt::Attempt,
    bucket::Bucket,
    clock::Clock,
    decision::{Decision, DecisionView},
    origin::Origin,
    sync::AtomicU64,
};

/// A key of a limiter, by its hash.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(super) current: &'a CurrentGeneration,
    pub(crate) clock: &'a Clock,
    pub(super) hash: u64,
}

/// Bucket of a key in the generation that a thread holds.
pub(crate) struct HeldKey<'h> {
    /// Origin of its decisions.
    pub(crate) origin: Origin,
    pub(crate) place: HeldPlace<'h>,
}

/// Place of a key's bucket.
#[derive(Clone, Copy)]
pub(crate) enum HeldPlace<'h> {
    /// Bucket of a rule.
    Rule(&'h Bucket),
    Slot(KeySlot<'h>),
}

/// Slot of a key in a table, which it may not have yet.
#[derive(Clone, Copy)]
pub(crate) struct KeySlot<'h> {
    table: &'h Table,
    hash: u64,
}

impl<'a> KeyRef<'a> {
    /// Adds the current generation to those that the thread holds, and returns its number.
    #[inline]
    pub(crate) fn hold(self, held: &mut HeldGenerations) -> u64 {
        held.hold(self.current)
    }

    /// Returns the key's bucket in the held generation with this number.
    #[inline]
    pub(crate) fn find<'h>(self, held: &'h HeldGenerations, number: u64) -> Option<HeldKey<'h>> {
        let generation = held.get(number)?;
        Some(match generation.rule(self.hash) {
            None => self.in_table(generation),
            Some(rule) => self.in_rule(generation, rule),
        })
    }

    #[inline]
    fn in_table(self, generation: &Generation) -> HeldKey<'_> {
        HeldKey {
            origin: generation.origin(self.hash, generation.table_origin),
            place: HeldPlace::Slot(KeySlot {
                table: &generation.table,
                hash: self.hash,
            }),
        }
    }

    fn in_rule<'h>(self, generation: &Generation, rule: &'h Rule) -> HeldKey<'h> {
        HeldKey {
            origin: generation.origin(self.hash, rule.origin),
            place: HeldPlace::Rule(&rule.bucket),
        }
    }

    /// Undoes a decision on this key; see [`Bucket::refund`].
    pub(crate) fn refund(self, decision: &Decision) -> bool {
        self.current
            .with(|generation| KeyBucket::refund(&generation.bucket(self.hash), decision))
    }
}

impl<'h> KeySlot<'h> {
    /// Returns an attempt to take tokens from a bucket of the table.
    #[inline]
    pub(crate) fn attempt(self, now_nanos: u64, cost: u32) -> Attempt<'h> {
        Attempt::immediate(&self.table.layout, now_nanos, cost)
    }

    /// Identifies the slot among those of all tables: keys with the same tag share a bucket.
    #[inline]
    pub(crate) fn identity(self) -> (u64, u64) {
        (self.table.number, Sets::tag(self.hash))
    }

    /// Returns the key's word and its value, or `None` when the table does not have the key. While
    /// the word has this value it is the key's: see [`Table`].
    #[inline]
    pub(crate) fn word(self) -> Option<(&'h AtomicU64, u64)> {
        self.table.word(self.hash)
    }

    /// Decides, and inserts a key that the table does not have.
    pub(crate) fn decide(self, attempt: &Attempt<'_>) -> Decision {
        self.table.decide(&self.table.probe(self.hash), attempt)
    }

    /// Undoes a charge.
    pub(crate) fn refund(self, charge: &DecisionView) -> bool {
        self.table.refund(&self.table.probe(self.hash), charge)
    }
}
