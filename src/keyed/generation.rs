//! Generations: immutable snapshots of everything that a decision depends on.

use super::{
    key_bucket::{KeyBucket, Place},
    rule::{Rule, Rules},
    table::Table,
};
use crate::{
    clock::Time,
    decision::Decision,
    origin::Origin,
    quota::Quota,
    sync::{
        Arc, Ordering,
        unmodelled::{AtomicBool, AtomicU64},
    },
};

/// Numbers are unique in the process, so a number alone identifies a generation among those that a
/// thread has cached.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Quota, layout, table and rules of a limiter between two changes.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) quota: Quota,
    /// Number of the limiter, spread over 64 bits.
    pub(super) limiter: u64,
    /// Shared with the previous generation if only rules have changed.
    pub(super) table: Arc<Table>,
    /// Identifies the table in the decisions it makes.
    pub(super) table_origin: u32,
    pub(super) rules: Rules,
    /// There are no rules, and the table is of this process alone: the fast path needs no more questions.
    is_plain: bool,
    retired: AtomicBool,
}

impl Generation {
    pub(super) fn new(
        quota: Quota,
        limiter: u64,
        table: Arc<Table>,
        table_origin: u32,
        rules: Rules,
    ) -> Generation {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        Generation {
            number,
            quota,
            limiter,
            is_plain: rules.is_empty() && !table.is_shared(),
            table,
            table_origin,
            rules,
            retired: AtomicBool::new(false),
        }
    }

    /// Returns the successor for the table by which another process has replaced this one. `None`: none
    /// has, or the table cannot be mapped, in which case decisions go on with this one, and try again.
    #[cfg(feature = "shared")]
    pub(super) fn after_replacement(&self, new_origin: impl Fn() -> u32) -> Option<Generation> {
        let (shared, _) = self.table.shared()?;
        if !self.table.is_outdated() {
            return None;
        }
        let file = shared.current_table().ok()?;
        let quota = file.quota;
        let table = Table::in_file(file, Arc::clone(shared), self.table.when_full);
        let now = shared.clock().nanos();
        let rules = super::rule::refilled(&self.rules, quota, now, &new_origin);
        let origin = new_origin();
        Some(Generation::new(
            quota,
            self.limiter,
            Arc::new(table),
            origin,
            rules,
        ))
    }

    /// See [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    #[inline(always)]
    pub(super) fn decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        match self.hit(hash, time, cost) {
            Some(decision) => decision,
            None => self.decide_slow(hash, time, cost),
        }
    }

    /// Returns true unless another process has replaced the table.
    #[inline(always)]
    pub(super) fn is_current(&self) -> bool {
        self.is_plain || !self.table.is_outdated()
    }

    /// Fast path of [`Generation::decide`]. Returns `None`, with no effect, in any other case.
    #[inline(always)]
    pub(super) fn hit(&self, hash: u64, time: Time<'_>, cost: u32) -> Option<Decision> {
        if !self.is_plain {
            return None;
        }
        self.hit_table(hash, time, cost)
    }

    #[inline(always)]
    fn hit_table(&self, hash: u64, time: Time<'_>, cost: u32) -> Option<Decision> {
        let decision = self.table.hit(hash, time, cost)?;
        Some(decision.with_origin(self.origin(hash, self.table_origin)))
    }

    /// Slow path: the limiter has rules, the key is new, other threads contend for its slot, or the table is
    /// shared. Not inlined, so that the fast path can be.
    #[cold]
    #[inline(never)]
    fn decide_slow(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        if self.table.is_shared()
            && self.rules.is_empty()
            && let Some(decision) = self.hit_table(hash, time, cost)
        {
            return decision;
        }
        self.bucket(hash).take(time, cost)
    }

    #[inline]
    pub(super) fn bucket(&self, hash: u64) -> KeyBucket<'_> {
        let (origin, place) = match self.rule(hash) {
            Some(rule) => (rule.origin, Place::Rule(rule)),
            None => (
                self.table_origin,
                Place::Table {
                    table: &self.table,
                    probe: self.table.probe(hash),
                },
            ),
        };
        KeyBucket {
            origin: self.origin(hash, origin),
            place,
        }
    }

    /// Returns the origin of decisions on a key, made by a table or rule with this number.
    #[inline(always)]
    pub(super) fn origin(&self, hash: u64, number: u32) -> Origin {
        Origin::new(self.limiter ^ hash, number.into())
    }

    /// Returns the key's rule, if it has one. Most limiters have no rules.
    #[inline]
    pub(super) fn rule(&self, hash: u64) -> Option<&Rule> {
        if self.rules.is_empty() {
            None
        } else {
            self.rules.get(&hash).map(|rule| &**rule)
        }
    }

    /// Returns the quota of the key's rule, if it has one.
    pub(super) fn rule_quota(&self, hash: u64) -> Option<Quota> {
        self.rule(hash)?.quota()
    }

    /// Marks the generation as replaced, or its limiter as dropped: caches release it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}
