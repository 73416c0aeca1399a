//! Reference to a key's bucket that is independent of the types of the key and the hasher.

use super::{
    current::{CurrentGeneration, HeldGenerations},
    sets::Slot,
    table::Table,
    tag,
};
#[cfg(feature = "tokio")]
use crate::wait::Lines;
use crate::{
    attempt::Attempt,
    bucket::Bucket,
    clock::Clock,
    decision::{Decision, DecisionView},
    origin::Origin,
    state::Layout,
    sync::AtomicU64,
};

/// A key of a limiter, by its hash: the key need not live as long.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(super) current: &'a CurrentGeneration,
    pub(crate) clock: &'a Clock,
    #[cfg(feature = "tokio")]
    pub(super) lines: &'a Lines<u64>,
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
    /// Slots that are probed first.
    home_line: &'h [Slot],
}

impl<'a> KeyRef<'a> {
    /// Adds the current generation to those that the thread holds, and returns its index.
    #[inline(always)]
    pub(crate) fn hold(self, held: &mut HeldGenerations) -> usize {
        held.hold(self.current)
    }

    /// Returns the key's slot in the held generation with this index and the origin of its
    /// decisions, when the limiter has no rules.
    #[inline(always)]
    pub(crate) fn slot<'h>(
        self,
        held: &'h HeldGenerations,
        index: usize,
    ) -> Option<(KeySlot<'h>, Origin)> {
        let generation = held.get(index)?;
        let slot = KeySlot::new(&generation.table, self.hash);
        let origin = generation.origin(self.hash, generation.table_origin);
        generation.has_no_rules().then_some((slot, origin))
    }

    /// Returns the key's bucket in the held generation with this index.
    pub(crate) fn find<'h>(self, held: &'h HeldGenerations, index: usize) -> Option<HeldKey<'h>> {
        let generation = held.get(index)?;
        let (place, number) = match generation.rule(self.hash) {
            None => {
                let (origin, table) = generation.table_of(self.hash);
                (HeldPlace::Slot(KeySlot::new(table, self.hash)), origin)
            }
            Some(rule) => (HeldPlace::Rule(&rule.bucket), rule.origin),
        };
        Some(HeldKey {
            origin: generation.origin(self.hash, number),
            place,
        })
    }

    #[cfg(all(feature = "tokio", feature = "tower"))]
    pub(crate) fn hash(self) -> u64 {
        self.hash
    }

    /// Returns true when both are the same key of one limiter.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_same(self, other: KeyRef<'_>) -> bool {
        std::ptr::eq(self.current, other.current) && self.hash == other.hash
    }

    /// Refills the key's bucket.
    pub(crate) fn reset(self) {
        let now_nanos = self.clock.nanos();
        self.current
            .with(|generation| generation.bucket(self.hash).reset(now_nanos));
        #[cfg(feature = "tokio")]
        self.lines.notify(&self.hash);
    }

    /// Undoes a decision on this key; see [`Bucket::refund`].
    pub(crate) fn refund(self, decision: &Decision) -> bool {
        self.current
            .with(|generation| generation.bucket(self.hash).refund(decision))
    }
}

impl<'h> KeySlot<'h> {
    #[inline(always)]
    fn new(table: &'h Table, hash: u64) -> KeySlot<'h> {
        KeySlot {
            table,
            hash,
            home_line: table.sets.home_line(hash),
        }
    }

    /// Returns an attempt to take tokens from a bucket of the table.
    #[inline]
    pub(crate) fn attempt(self, now_nanos: u64, cost: u32) -> Attempt<'h> {
        Attempt::immediate(&self.table.layout, now_nanos, cost)
    }

    /// Returns the position in one order of all buckets and slots: the number of the table, and the
    /// tag. Keys with the same tag and the same [`sets`](KeySlot::sets) share a bucket.
    #[inline(always)]
    pub(crate) fn position(self) -> (u64, u64) {
        (self.table.number, tag::of(self.hash))
    }

    /// Returns a number of the key's two sets.
    pub(crate) fn sets(self) -> u64 {
        self.table.sets.pair(self.hash)
    }

    /// Prefetches the cache line that a look at the key reads first.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        Table::prefetch(self.home_line);
    }

    #[inline(always)]
    pub(crate) fn layout(self) -> &'h Layout {
        &self.table.layout
    }

    /// Returns the key's word and its value, or `None` when the table does not have the key. While
    /// the word has this value it is the key's: see [`Table`].
    #[inline(always)]
    pub(crate) fn word(self) -> Option<(&'h AtomicU64, u64)> {
        self.table.word(self.hash, self.home_line)
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
