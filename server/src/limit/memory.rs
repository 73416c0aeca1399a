//! Limiter in memory, and the names of its rules.

use std::{
    collections::BTreeMap,
    mem,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tollgate::{
    Ask, Decision, DecisionView, KeyedLimiter, KeyedLimiterBuilder, KeyedStats, Quota, Refused,
};

use super::{
    config::{ConfiguredLimits, DefaultUpdate, EffectiveConfig, QuotaView, UpdateError},
    rule_names::{NamesLock, RuleNames},
    state::{self, StateFile},
};
use crate::{config::MAX_RULES, request::client_id::ClientId};

/// Limiter in memory. Decisions take no lock. Updates and reads of the configuration take the lock
/// on the rules, so that names and limiter always agree.
pub(crate) struct MemoryLimiter {
    limiter: KeyedLimiter<ClientId<'static>>,
    /// By client name.
    rules: Mutex<BTreeMap<String, Quota>>,
    /// `None`: no other process shares the buckets.
    shared: Option<Box<SharedState>>,
}

/// Part of a limiter whose buckets and rules other processes share.
struct SharedState {
    /// The quota of this process. Others may replace it.
    own_quota: Mutex<Quota>,
    names: RuleNames,
    copy: Option<PathBuf>,
}

/// The rules, while their lock is held. Where other processes share them, they are those of all.
struct LockedRules<'a> {
    rules: MutexGuard<'a, BTreeMap<String, Quota>>,
    shared: Option<(&'a RuleNames, NamesLock)>,
}

impl LockedRules<'_> {
    /// Writes changed rules for other processes, then makes the change. If that fails, the rules stay.
    fn change(
        &mut self,
        rules: BTreeMap<String, Quota>,
        change: impl FnOnce() -> Result<(), UpdateError>,
    ) -> Result<(), UpdateError> {
        let write = |rules: &BTreeMap<String, Quota>| {
            self.shared.as_ref().map_or(Ok(()), |(names, lock)| {
                names.write(rules, lock).map_err(UpdateError::names)
            })
        };
        if *self.rules != rules {
            write(&rules)?;
        }
        if let Err(error) = change() {
            write(&self.rules)?;
            return Err(error);
        }
        *self.rules = rules;
        Ok(())
    }
}

impl MemoryLimiter {
    pub(super) fn new(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<MemoryLimiter, tollgate::BuildError> {
        Ok(MemoryLimiter {
            limiter: builder.build()?,
            rules: Mutex::default(),
            shared: None,
        })
    }

    /// Opens the buckets in a file, or creates them.
    pub(super) fn open(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
        file: &StateFile<'_>,
    ) -> Result<MemoryLimiter, String> {
        let limiter = file.open(builder)?;
        let (names, copy) = (RuleNames::beside(&file.path()?), file.copy()?);
        if let Some(copy) = &copy {
            let restored = names.restore_from(&RuleNames::beside(copy));
            restored.map_err(|error| format!("state_copy: {}: {error}", copy.display()))?;
        }
        Ok(MemoryLimiter {
            shared: Some(Box::new(SharedState {
                own_quota: Mutex::new(limiter.quota()),
                names,
                copy,
            })),
            rules: Mutex::default(),
            limiter,
        })
    }

    /// Returns the quota of this process and the one by which another process has replaced it since the
    /// last call.
    pub(super) fn adopted_quota(&self) -> Option<(Quota, Quota)> {
        let mut own = lock(&self.shared.as_ref()?.own_quota);
        let now = self.limiter.quota();
        let before = mem::replace(&mut *own, now);
        (before != now).then_some((before, now))
    }

    /// Copies the buckets and the rules, if the settings have a directory for copies.
    pub(super) fn copy(&self) -> Result<(), String> {
        let Some(SharedState {
            names,
            copy: Some(copy),
            ..
        }) = self.shared.as_deref()
        else {
            return Ok(());
        };
        state::copy(&self.limiter, copy)?;
        let copied = names.copy_to(&RuleNames::beside(copy));
        copied.map_err(|error| error.to_string())
    }

    /// Takes note of a quota that this process has set.
    fn set_own_quota(&self, quota: Quota) {
        if let Some(shared) = &self.shared {
            *lock(&shared.own_quota) = quota;
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
        let rules = self.locked_rules()?;
        let old = self.limiter.quota();
        let quota = update.apply(old)?;
        state::replace_and_reset(&self.limiter, quota)?;
        self.set_own_quota(quota);
        tracing::info!(old = %old, new = %quota, "default quota replaced; all buckets full");
        Ok(EffectiveConfig::new(quota, rules.rules.clone()))
    }

    pub(super) fn set_quota(&self, quota: Quota) -> Result<(), UpdateError> {
        let _rules = self.locked_rules()?;
        state::update(&self.limiter, Some(quota), [])?;
        self.set_own_quota(quota);
        Ok(())
    }

    pub(super) fn set_rule(
        &self,
        client: &ClientId<'_>,
        quota: Quota,
    ) -> Result<QuotaView, UpdateError> {
        let mut locked = self.locked_rules()?;
        let mut rules = locked.rules.clone();
        rules.insert(client.name().into_owned(), quota);
        if rules.len() > MAX_RULES && rules.len() > locked.rules.len() {
            return Err(UpdateError::TooManyRules(MAX_RULES));
        }
        locked.change(rules, || {
            state::update(&self.limiter, None, [(client, Some(quota))])
        })?;
        Ok(quota.into())
    }

    pub(super) fn remove_rule(
        &self,
        client: &ClientId<'_>,
    ) -> Result<Option<QuotaView>, UpdateError> {
        let mut locked = self.locked_rules()?;
        let mut rules = locked.rules.clone();
        let was_there = rules.remove(&*client.name()).is_some();
        locked.change(rules, || {
            state::update(&self.limiter, None, [(client, None)])
        })?;
        Ok(was_there.then(|| self.limiter.quota().into()))
    }

    /// Applies all changes in one step, so that no request observes a part of them.
    pub(super) fn apply_changes(
        &self,
        old: &ConfiguredLimits<'_>,
        new: &ConfiguredLimits<'_>,
    ) -> Result<(), UpdateError> {
        let mut locked = self.locked_rules()?;
        let (set, mut removed) = new.rule_changes_since(old);
        // Rules that an administrator has changed since are kept.
        removed.retain(|rule| locked.rules.get(&rule.name) == Some(&rule.quota));
        let mut rules = locked.rules.clone();
        for rule in &removed {
            rules.remove(&rule.name);
        }
        rules.extend(set.iter().map(|rule| (rule.name.clone(), rule.quota)));
        if rules.len() > MAX_RULES {
            return Err(UpdateError::TooManyRules(MAX_RULES));
        }
        let current = self.limiter.quota();
        // An administrator may have set the new quota already.
        let default = (old.default != new.default && current != new.default).then_some(new.default);
        let removals = removed.iter().map(|rule| (rule.client, None));
        let settings = set.iter().map(|rule| (rule.client, Some(rule.quota)));
        locked.change(rules, || {
            state::update(&self.limiter, default, removals.chain(settings))
        })?;
        if let Some(quota) = default {
            self.set_own_quota(quota);
            tracing::info!(old = %current, new = %quota, "default quota replaced; all buckets full");
        }
        Ok(())
    }

    pub(super) fn effective_config(&self) -> EffectiveConfig {
        let rules = match &self.shared {
            None => lock(&self.rules).clone(),
            Some(shared) => shared.names.read().unwrap_or_else(|error| {
                tracing::warn!(%error, "names of clients with rules cannot be read");
                BTreeMap::new()
            }),
        };
        EffectiveConfig::new(self.limiter.quota(), rules)
    }

    fn locked_rules(&self) -> Result<LockedRules<'_>, UpdateError> {
        let mut rules = lock(&self.rules);
        let shared = match &self.shared {
            None => None,
            Some(shared) => {
                let names = &shared.names;
                let lock = names.lock().map_err(UpdateError::names)?;
                *rules = names.read().map_err(UpdateError::names)?;
                Some((names, lock))
            }
        };
        Ok(LockedRules { rules, shared })
    }
}

/// Takes a lock. No holder can panic between two changes, so a poisoned lock is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
