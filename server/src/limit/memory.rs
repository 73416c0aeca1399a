//! Limiter in memory, and the names of its rules.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tollgate::{
    Ask, Decision, DecisionView, KeyedLimiter, KeyedLimiterBuilder, KeyedStats, Quota, Refused,
};

use super::{
    config::{ConfiguredLimits, DefaultUpdate, EffectiveConfig, QuotaView, UpdateError},
    state::{self, StateFile},
};
use crate::{config::MAX_RULES, request::client_id::ClientId};

/// Limiter in memory. Decisions take no lock. Updates and reads of the configuration take the lock
/// on the rules, so that names and limiter always agree.
pub(crate) struct MemoryLimiter {
    limiter: KeyedLimiter<ClientId<'static>>,
    /// By client name.
    rules: Mutex<BTreeMap<String, Quota>>,
    /// The quota of this process, where others share the buckets: they may replace it.
    own_quota: Option<Mutex<Quota>>,
}

impl MemoryLimiter {
    pub(super) fn new(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<MemoryLimiter, tollgate::BuildError> {
        Ok(MemoryLimiter {
            limiter: builder.build()?,
            rules: Mutex::default(),
            own_quota: None,
        })
    }

    /// Opens the buckets in a file, or creates them.
    pub(super) fn open(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
        file: &StateFile<'_>,
    ) -> Result<MemoryLimiter, String> {
        let limiter = file.open(builder)?;
        Ok(MemoryLimiter {
            own_quota: Some(Mutex::new(limiter.quota())),
            rules: Mutex::default(),
            limiter,
        })
    }

    /// Returns the quota of this process and the one by which another process has replaced it since the
    /// last call.
    pub(super) fn adopted_quota(&self) -> Option<(Quota, Quota)> {
        let _rules = self.lock();
        let mut own = lock(self.own_quota.as_ref()?);
        let now = self.limiter.quota();
        let before = mem::replace(&mut *own, now);
        (before != now).then_some((before, now))
    }

    /// Takes note of a quota that this process has set.
    fn set_own_quota(&self, quota: Quota) {
        if let Some(own) = &self.own_quota {
            *lock(own) = quota;
        }
    }

    #[inline]
    pub(super) fn try_acquire(&self, client: &ClientId<'_>, cost: u32) -> Decision {
        self.limiter.try_acquire(client, cost)
    }

    pub(super) fn look(&self, client: &ClientId<'_>, cost: u32) -> DecisionView {
        self.limiter.look(client, cost)
    }

    pub(super) fn ask<'a>(&'a self, client: &ClientId<'a>, cost: u32) -> Ask<'a> {
        self.limiter.ask(client, cost)
    }

    pub(super) fn has_waiters(&self, client: &ClientId<'_>) -> bool {
        self.limiter.has_waiters(client)
    }

    pub(super) async fn acquire_within(
        &self,
        client: &ClientId<'_>,
        cost: u32,
        max_wait: Duration,
    ) -> Result<Decision, Refused> {
        self.limiter.acquire_within(client, cost, max_wait).await
    }

    pub(super) fn refund(&self, client: &ClientId<'_>, decision: Decision) {
        // An error means another limiter or client: the charge names both.
        let _ = self.limiter.refund(client, decision);
    }

    pub(super) fn quota(&self) -> Quota {
        self.limiter.quota()
    }

    pub(super) fn quota_of(&self, client: &ClientId<'_>) -> Quota {
        let rule = self.limiter.rule(client);
        rule.unwrap_or_else(|| self.limiter.quota())
    }

    pub(super) fn stats(&self) -> KeyedStats {
        self.limiter.stats()
    }

    pub(super) fn replace(&self, update: DefaultUpdate) -> Result<EffectiveConfig, UpdateError> {
        let rules = self.lock();
        let old = self.limiter.quota();
        let quota = update.apply(old)?;
        state::replace_and_reset(&self.limiter, quota)?;
        self.set_own_quota(quota);
        tracing::info!(old = %old, new = %quota, "default quota replaced; all buckets full");
        Ok(EffectiveConfig::new(quota, rules.clone()))
    }

    pub(super) fn set_quota(&self, quota: Quota) -> Result<(), UpdateError> {
        let _rules = self.lock();
        state::replace(&self.limiter, quota)?;
        self.set_own_quota(quota);
        Ok(())
    }

    pub(super) fn set_rule(
        &self,
        client: &ClientId<'_>,
        quota: Quota,
    ) -> Result<QuotaView, UpdateError> {
        if self.own_quota.is_some() {
            return Err(UpdateError::UnsharedRule);
        }
        let mut rules = self.lock();
        let name = client.name().into_owned();
        if rules.len() >= MAX_RULES && !rules.contains_key(&name) {
            return Err(UpdateError::TooManyRules);
        }
        self.limiter.set_rule(client, quota);
        rules.insert(name, quota);
        Ok(quota.into())
    }

    pub(super) fn remove_rule(&self, client: &ClientId<'_>) -> Option<QuotaView> {
        let mut rules = self.lock();
        self.limiter.remove_rule(client);
        rules
            .remove(&*client.name())
            .map(|_| self.limiter.quota().into())
    }

    /// Applies all changes in one step, so that no request observes a part of them.
    pub(super) fn apply_changes(
        &self,
        old: &ConfiguredLimits<'_>,
        new: &ConfiguredLimits<'_>,
    ) -> Result<(), UpdateError> {
        let mut rules = self.lock();
        let (set, mut removed) = new.rule_changes_since(old);
        // Rules that an administrator has changed since are kept.
        removed.retain(|rule| rules.get(&rule.name) == Some(&rule.quota));
        let added = set
            .iter()
            .filter(|rule| !rules.contains_key(&rule.name))
            .count();
        if rules.len() - removed.len() + added > MAX_RULES {
            return Err(UpdateError::TooManyRules);
        }
        let current = self.limiter.quota();
        // An administrator may have set the new quota already.
        let default = (old.default != new.default && current != new.default).then_some(new.default);
        if let Some(quota) = default {
            tracing::info!(old = %current, new = %quota, "default quota replaced; all buckets full");
        }
        if self.own_quota.is_some() {
            // The configuration has refused rules.
            if let Some(quota) = default {
                state::replace(&self.limiter, quota)?;
                self.set_own_quota(quota);
            }
            return Ok(());
        }
        let removals = removed.iter().map(|rule| (rule.client, None));
        self.limiter.update(
            default,
            removals.chain(set.iter().map(|rule| (rule.client, Some(rule.quota)))),
        );
        for rule in removed {
            rules.remove(&rule.name);
        }
        rules.extend(set.into_iter().map(|rule| (rule.name, rule.quota)));
        Ok(())
    }

    pub(super) fn effective_config(&self) -> EffectiveConfig {
        let rules = self.lock();
        EffectiveConfig::new(self.limiter.quota(), rules.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Quota>> {
        lock(&self.rules)
    }
}

/// Takes a lock. No holder can panic between two changes, so a poisoned lock is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
