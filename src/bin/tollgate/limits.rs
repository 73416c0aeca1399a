//! The limiter, and what is in force: the default and the rules, changed by one administrator at a time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tollgate::{Decision, KeyedLimiter, KeyedLimiterBuilder, Quota, QuotaError};

use crate::{client::Id, config::MAX_RULES};

/// Decisions take no lock; changes take one, so that what is shown is what is in force.
pub(crate) struct Limits {
    limiter: KeyedLimiter,
    /// By the client's name.
    rules: Mutex<BTreeMap<String, Quota>>,
}

/// A change of the default: what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NewDefault {
    pub(crate) capacity: Option<u32>,
    /// A rate is greedy: it takes an interval's place.
    pub(crate) refill_rate: Option<f64>,
}

/// What `GET /config` shows.
#[derive(Debug, Serialize)]
pub(crate) struct InForce {
    #[serde(flatten)]
    default: Shown,
    rules: BTreeMap<String, Shown>,
}

/// A quota in the words of the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    capacity: u32,
    refill_rate: f64,
    mode: &'static str,
    /// Of an interval: its length in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
}

impl From<Quota> for Shown {
    fn from(quota: Quota) -> Shown {
        let every = quota.is_interval().then(|| quota.period());
        Shown {
            capacity: quota.get_capacity(),
            refill_rate: quota.tokens_per_second(),
            mode: if every.is_some() { "interval" } else { "greedy" },
            every: every.as_ref().map(Duration::as_secs_f64),
        }
    }
}

/// There are [`MAX_RULES`] already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyRules;

impl Limits {
    pub(crate) fn new(builder: KeyedLimiterBuilder) -> Result<Limits, tollgate::BuildError> {
        Ok(Limits { limiter: builder.build()?, rules: Mutex::default() })
    }

    #[inline]
    pub(crate) fn try_acquire(&self, id: &Id<'_>, cost: u32) -> Decision {
        self.limiter.try_acquire(id, cost)
    }

    /// Changes the default for everybody at once, and makes every bucket full.
    pub(crate) fn replace(&self, change: NewDefault) -> Result<InForce, QuotaError> {
        let rules = self.lock();
        let old = self.limiter.quota();
        let capacity = change.capacity.unwrap_or(old.get_capacity());
        let quota = match change.refill_rate {
            Some(rate) => Quota::from_rate(capacity, rate)?,
            None => old.with_capacity(capacity)?,
        };
        self.limiter.replace(quota);
        tracing::info!(old = %old, new = %quota, "the default limit changed, all buckets are full");
        Ok(in_force(quota, &rules))
    }

    /// Gives one client a quota of its own.
    pub(crate) fn set_rule(&self, id: &Id<'_>, quota: Quota) -> Result<Shown, TooManyRules> {
        let mut rules = self.lock();
        let name = id.name();
        if rules.len() >= MAX_RULES && !rules.contains_key(&name) {
            return Err(TooManyRules);
        }
        self.limiter.set_rule(id, quota);
        rules.insert(name, quota);
        Ok(quota.into())
    }

    /// Takes a client's own quota back. If it had one, the default is now in force, and returned.
    pub(crate) fn remove_rule(&self, id: &Id<'_>) -> Option<Shown> {
        let mut rules = self.lock();
        self.limiter.remove_rule(id);
        rules.remove(&id.name()).map(|_| self.limiter.quota().into())
    }

    pub(crate) fn in_force(&self) -> InForce {
        let rules = self.lock();
        in_force(self.limiter.quota(), &rules)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Quota>> {
        // Who panicked with the lock in hand had not begun to change the map.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_force(quota: Quota, rules: &BTreeMap<String, Quota>) -> InForce {
    let rules = rules.iter().map(|(name, quota)| (name.clone(), (*quota).into())).collect();
    InForce { default: quota.into(), rules }
}
