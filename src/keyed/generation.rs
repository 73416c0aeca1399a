//! Generations: immutable snapshots of everything that a decision depends on.

use super::{
    key_bucket::{KeyBucket, Place},
    rule::{Rule, Rules},
    table::Table,
};
#[cfg(feature = "shared")]
use super::{
    shared::Current,
    shared_rule::{SharedRule, SharedRules},
};
#[cfg(feature = "shared")]
use crate::clock::Clock;
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
    /// Numbers of the table and of the rules, if several processes share them.
    #[cfg(feature = "shared")]
    seen: Current,
    #[cfg(feature = "shared")]
    shared_rules: SharedRules,
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
        #[cfg(feature = "shared")]
        let seen = Current {
            table: table.file_number,
            rules: 0,
        };
        Generation {
            number,
            quota,
            limiter,
            is_plain: rules.is_empty() && !table.is_shared(),
            table,
            table_origin,
            rules,
            #[cfg(feature = "shared")]
            seen,
            #[cfg(feature = "shared")]
            shared_rules: SharedRules::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// Returns the successor with the table and the rules by which this or another process has replaced
    /// those of this one. `None`: none has, or they cannot be mapped, in which case decisions go on with this one,
    /// and try again.
    #[cfg(feature = "shared")]
    pub(super) fn after_change(&self, new_origin: impl Fn() -> u32) -> Option<Generation> {
        let shared = self.table.shared()?;
        if self.is_current() {
            return None;
        }
        let snapshot = shared.snapshot(Some(self.seen.table)).ok()?;
        let mut shared_rules = SharedRules::default();
        for listed in snapshot.rules() {
            let known = self.shared_rules.get(&listed.hash);
            let rule = match known.filter(|rule| rule.number == listed.number) {
                Some(rule) => Arc::clone(rule),
                // Without its file it is not in the list any more.
                None => {
                    let table = shared.rule_table(listed).ok()??;
                    let table = Table::of_rule(table, shared);
                    Arc::new(SharedRule::new(listed, table, new_origin()))
                }
            };
            shared_rules.insert(listed.hash, rule);
        }
        let (seen, now) = (snapshot.current, shared.clock().nanos());
        let (quota, table, origin, rules) = match snapshot.table {
            None => {
                let rules = super::rule::unexpired(&self.rules, now);
                (
                    self.quota,
                    Arc::clone(&self.table),
                    self.table_origin,
                    rules,
                )
            }
            Some(file) => {
                let quota = file.quota;
                let table = Table::in_file(file, Arc::clone(shared), self.table.when_full);
                let rules = super::rule::refilled(&self.rules, quota, now, &new_origin);
                (quota, Arc::new(table), new_origin(), rules)
            }
        };
        Some(Generation {
            seen,
            shared_rules,
            ..Generation::new(quota, self.limiter, table, origin, rules)
        })
    }

    /// Returns the successor with other rules of this process.
    pub(super) fn with_rules(&self, rules: Rules) -> Generation {
        let table = Arc::clone(&self.table);
        let next = Generation::new(self.quota, self.limiter, table, self.table_origin, rules);
        #[cfg(feature = "shared")]
        let next = Generation {
            seen: self.seen,
            shared_rules: self.shared_rules.clone(),
            ..next
        };
        next
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
        #[cfg(feature = "shared")]
        let is_current = match self.table.shared() {
            _ if self.is_plain => true,
            Some(shared) => shared.current() == self.seen,
            None => true,
        };
        #[cfg(not(feature = "shared"))]
        let is_current = true;
        is_current
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
            && self.has_no_rules()
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
            None => {
                let (origin, table) = self.table_of(hash);
                let probe = table.probe(hash);
                (origin, Place::Table { table, probe })
            }
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
            self.rules
                .get(&hash)
                .map(|rule| &**rule)
                .filter(|rule| self.decides(rule))
        }
    }

    /// Returns true for a rule that decides. In a table that processes share, a pause does so until it is over:
    /// then the bucket of all does again.
    fn decides(&self, rule: &Rule) -> bool {
        #[cfg(feature = "shared")]
        let is_over = self.table.shared().is_some_and(|shared| {
            let now = shared.clock().nanos();
            rule.pause_after(now).is_none()
        });
        #[cfg(not(feature = "shared"))]
        let is_over = {
            let _ = rule;
            false
        };
        !is_over
    }

    /// Returns the table of a key that has no rule of this process, and its origin in decisions.
    #[inline]
    pub(super) fn table_of(&self, hash: u64) -> (u32, &Table) {
        #[cfg(feature = "shared")]
        if !self.shared_rules.is_empty()
            && let Some(rule) = self.shared_rules.get(&hash)
        {
            return (rule.origin, &rule.table);
        }
        let _ = hash;
        (self.table_origin, &self.table)
    }

    /// Returns the quota of the key's rule, if it has one.
    pub(super) fn rule_quota(&self, hash: u64) -> Option<Quota> {
        let own = self.rule(hash).and_then(Rule::quota);
        #[cfg(feature = "shared")]
        let own = own.or_else(|| self.shared_rules.get(&hash).map(|rule| rule.quota));
        own
    }

    /// Returns true when no key has a rule.
    #[inline]
    pub(super) fn has_no_rules(&self) -> bool {
        self.rule_count() == 0
    }

    /// Returns the number of rules.
    #[inline]
    pub(super) fn rule_count(&self) -> usize {
        let count = self.rules.len();
        #[cfg(feature = "shared")]
        let count = count + self.shared_rules.len();
        count
    }

    /// Undoes what processes left in the tables that died.
    #[cfg(feature = "shared")]
    pub(super) fn repair(&self, clock: &Clock) {
        let rules = self.shared_rules.values().map(|rule| &rule.table);
        rules
            .chain([&*self.table])
            .for_each(|table| table.repair(clock));
    }

    /// Marks the generation as replaced, or its limiter as dropped: caches release it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}
