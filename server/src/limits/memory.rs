//! Buckets in memory, and the rules by name: changed by one administrator at a time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tollgate::{Decision, KeyedLimiter, KeyedLimiterBuilder, KeyedStats, Quota};

use super::{Decided, InForce, NewDefault, NotChanged, Shown, Terms};
use crate::{client::Id, config::MAX_RULES};

/// Decisions take no lock; changes take one, so that what is shown is what is in force.
pub(crate) struct Memory {
    limiter: KeyedLimiter,
    /// By the client's name.
    rules: Mutex<BTreeMap<String, Quota>>,
}

impl Memory {
    pub(super) fn new(builder: KeyedLimiterBuilder) -> Result<Memory, tollgate::BuildError> {
        Ok(Memory {
            limiter: builder.build()?,
            rules: Mutex::default(),
        })
    }

    #[inline]
    pub(super) fn try_acquire(&self, id: &Id<'_>, cost: u32) -> Decided {
        self.limiter.try_acquire(id, cost).into()
    }

    pub(super) fn refund(&self, id: &Id<'_>, decision: Decision) {
        self.limiter.refund(id, decision);
    }

    pub(super) fn quota(&self) -> Quota {
        self.limiter.quota()
    }

    pub(super) fn stats(&self) -> KeyedStats {
        self.limiter.stats()
    }

    pub(super) fn replace(&self, change: NewDefault) -> Result<InForce, NotChanged> {
        let rules = self.lock();
        let old = self.limiter.quota();
        let quota = change.of(old)?;
        self.limiter.replace(quota);
        tracing::info!(old = %old, new = %quota, "the default limit changed, all buckets are full");
        Ok(InForce::new(quota, rules.clone()))
    }

    pub(super) fn set_rule(&self, id: &Id<'_>, quota: Quota) -> Result<Shown, NotChanged> {
        let mut rules = self.lock();
        let name = id.name().into_owned();
        if rules.len() >= MAX_RULES && !rules.contains_key(&name) {
            return Err(NotChanged::TooManyRules);
        }
        self.limiter.set_rule(id, quota);
        rules.insert(name, quota);
        Ok(quota.into())
    }

    pub(super) fn remove_rule(&self, id: &Id<'_>) -> Option<Shown> {
        let mut rules = self.lock();
        self.limiter.remove_rule(id);
        rules
            .remove(&*id.name())
            .map(|_| self.limiter.quota().into())
    }

    /// In one step, so that no request sees a part of it.
    pub(super) fn take_over(&self, old: &Terms<'_>, new: &Terms<'_>) -> Result<(), NotChanged> {
        let mut rules = self.lock();
        let (set, mut gone) = new.since(old);
        // What somebody has changed since stays.
        gone.retain(|rule| rules.get(&rule.name) == Some(&rule.quota));
        let added = set
            .iter()
            .filter(|rule| !rules.contains_key(&rule.name))
            .count();
        if rules.len() - gone.len() + added > MAX_RULES {
            return Err(NotChanged::TooManyRules);
        }
        let default = (old.default != new.default).then_some(new.default);
        if let Some(quota) = default {
            tracing::info!(old = %self.limiter.quota(), new = %quota, "the default limit changed, all buckets are full");
        }
        let taken_back = gone.iter().map(|rule| (rule.id, None));
        self.limiter.update(
            default,
            taken_back.chain(set.iter().map(|rule| (rule.id, Some(rule.quota)))),
        );
        for rule in gone {
            rules.remove(&rule.name);
        }
        rules.extend(set.into_iter().map(|rule| (rule.name, rule.quota)));
        Ok(())
    }

    pub(super) fn in_force(&self) -> InForce {
        let rules = self.lock();
        InForce::new(self.limiter.quota(), rules.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Quota>> {
        // Who panicked with the lock in hand had not begun to change the map.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
