//! Buckets and rules in Redis, where other instances see them as well. A client's name is its key.

use std::time::Duration;

use tollgate::{Quota, RedisError, RedisLimiter, RedisLimiterBuilder, RedisStats, SharedDecision};

use super::{Decided, InForce, NewDefault, NotChanged, Shown};
use crate::{
    client::Id,
    config::{MAX_RULES, Redis, RedisUrl},
};

/// The pause before the rules of the configuration are offered again to a Redis that could not be asked.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    limiter: RedisLimiter,
}

impl Shared {
    pub(super) async fn connect(redis: &Redis, quota: Quota, max_clients: usize) -> Result<Shared, RedisError> {
        let RedisUrl(url) = &redis.url;
        let builder = RedisLimiter::builder(url, quota).prefix(&redis.prefix).timeout(redis.timeout);
        let builder = builder.on_error(redis.on_error).max_keys(max_clients);
        let builder = redis.lease_fraction.into_iter().fold(builder, RedisLimiterBuilder::lease);
        Ok(Shared { limiter: builder.connect().await? })
    }

    /// Decides, if nobody need be asked for it.
    pub(super) fn try_acquire_at_once(&self, id: &Id<'_>, cost: u32) -> Option<Decided> {
        self.limiter.try_acquire_at_once(&*id.name(), cost).map(Decided::from)
    }

    pub(super) async fn try_acquire(&self, id: &Id<'_>, cost: u32) -> Decided {
        self.limiter.try_acquire(&*id.name(), cost).await.into()
    }

    pub(super) async fn refund(&self, id: &Id<'_>, decision: SharedDecision) {
        self.limiter.refund(&*id.name(), decision).await;
    }

    pub(super) fn quota(&self) -> Quota {
        self.limiter.quota()
    }

    /// Gives back what is on lease.
    pub(super) async fn close(&self) {
        self.limiter.close().await;
    }

    pub(super) async fn replace(&self, change: NewDefault) -> Result<InForce, NotChanged> {
        let old = self.limiter.quota();
        let quota = change.of(old)?;
        self.limiter.replace(quota).await.map_err(NotChanged::Redis)?;
        tracing::info!(old = %old, new = %quota, "the default limit changed for all instances, all buckets are full");
        Ok(self.in_force())
    }

    pub(super) async fn set_rule(&self, id: &Id<'_>, quota: Quota) -> Result<Shown, NotChanged> {
        let name = id.name();
        if self.limiter.rule(&*name).is_none() && self.limiter.rules().len() >= MAX_RULES {
            return Err(NotChanged::TooManyRules);
        }
        self.limiter.set_rule(&*name, quota).await.map_err(NotChanged::Redis)?;
        Ok(quota.into())
    }

    pub(super) async fn remove_rule(&self, id: &Id<'_>) -> Result<Option<Shown>, NotChanged> {
        let had_one = self.limiter.remove_rule(&*id.name()).await.map_err(NotChanged::Redis)?;
        Ok(had_one.then(|| self.limiter.quota().into()))
    }

    /// Offers rules until Redis has them; those that it has already stay.
    pub(super) async fn start_with(&self, rules: Vec<(String, Quota)>) {
        let left = offer(&self.limiter, rules).await;
        if left.is_empty() {
            return;
        }
        tracing::warn!(rules = left.len(), "Redis cannot be asked: the configured rules are in force when it is back");
        let limiter = self.limiter.clone();
        tokio::spawn(async move {
            let mut left = left;
            while !left.is_empty() {
                tokio::time::sleep(OFFER_AGAIN).await;
                left = offer(&limiter, left).await;
            }
        });
    }

    pub(super) fn in_force(&self) -> InForce {
        // Names were text when they came.
        let named = |(key, quota): (Vec<u8>, Quota)| (String::from_utf8_lossy(&key).into_owned(), quota);
        InForce::new(self.limiter.quota(), self.limiter.rules().into_iter().map(named))
    }

    pub(super) fn stats(&self) -> RedisStats {
        self.limiter.stats()
    }
}

/// Returns those that could not be offered.
async fn offer(limiter: &RedisLimiter, rules: Vec<(String, Quota)>) -> Vec<(String, Quota)> {
    let mut left = Vec::new();
    for (name, quota) in rules {
        // Who knows that Redis is down does not wait for it once for every rule.
        let has_one = || limiter.rule(&name).is_some();
        if !limiter.stats().up || !(has_one() || limiter.set_rule(&name, quota).await.is_ok()) {
            left.push((name, quota));
        }
    }
    left
}
