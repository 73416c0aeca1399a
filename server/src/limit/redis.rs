//! Limiter in Redis, whose buckets and rules all instances share. A client's name is its key.

use std::time::Duration;

use tollgate::{
    Clock, Decision, Quota, RedisAsk, RedisError, RedisLimiter, RedisLimiterBuilder, RedisStats,
    Refused,
};

use super::config::{DefaultUpdate, EffectiveConfig, QuotaView, Rule, UpdateError};
use crate::{
    config::{MAX_RULES, Redis},
    request::client_id::ClientId,
    values::RedisUrl,
};

/// Pause between attempts to apply the configured rules while Redis is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Limiter in Redis.
pub(crate) struct SharedLimiter {
    limiter: RedisLimiter,
}

impl SharedLimiter {
    pub(super) async fn connect(
        redis: &Redis,
        quota: Quota,
        max_clients: usize,
        clock: Clock,
    ) -> Result<SharedLimiter, RedisError> {
        let RedisUrl(url) = &redis.url;
        let builder = RedisLimiter::builder(url, quota)
            .clock(clock)
            .prefix(&redis.prefix)
            .timeout(redis.timeout)
            .clock_tolerance(redis.clock_tolerance);
        let builder = builder.on_error(redis.on_error).max_keys(max_clients);
        let builder = redis
            .lease_fraction
            .into_iter()
            .fold(builder, RedisLimiterBuilder::lease);
        let builder = match redis.hash_tags {
            true => builder.hash_tags(),
            false => builder,
        };
        Ok(SharedLimiter {
            limiter: builder.connect().await?,
        })
    }

    /// Decides from leased tokens. Returns `None` if the decision needs a request to Redis.
    pub(super) fn try_acquire_at_once(&self, client: &ClientId<'_>, cost: u32) -> Option<Decision> {
        self.limiter.try_acquire_at_once(&*client.name(), cost)
    }

    pub(super) async fn try_acquire(&self, client: &ClientId<'_>, cost: u32) -> Decision {
        self.limiter.try_acquire(&*client.name(), cost).await
    }

    /// Asks for tokens, as one of several limits, of a client with this name.
    pub(super) fn ask<'a>(&'a self, name: &'a str, cost: u32) -> RedisAsk<'a> {
        self.limiter.ask(name, cost)
    }

    pub(super) fn has_waiters(&self, client: &ClientId<'_>) -> bool {
        self.limiter.has_waiters(&*client.name())
    }

    pub(super) async fn acquire_within(
        &self,
        client: &ClientId<'_>,
        cost: u32,
        max_wait: Duration,
    ) -> Result<Decision, Refused> {
        let name = client.name();
        self.limiter.acquire_within(&*name, cost, max_wait).await
    }

    pub(super) async fn refund(&self, client: &ClientId<'_>, decision: Decision) {
        // An error means another limiter or client: the charge names both.
        let _ = self.limiter.refund(&*client.name(), decision).await;
    }

    pub(super) fn quota(&self) -> Quota {
        self.limiter.quota()
    }

    /// Returns leased tokens to Redis.
    pub(super) async fn close(&self) {
        self.limiter.close().await;
    }

    pub(super) async fn replace(
        &self,
        update: DefaultUpdate,
    ) -> Result<EffectiveConfig, UpdateError> {
        let old = self.limiter.quota();
        let quota = update.apply(old)?;
        self.limiter
            .replace_and_reset(quota)
            .await
            .map_err(UpdateError::Redis)?;
        tracing::info!(old = %old, new = %quota, "default quota replaced for all instances; all buckets full");
        Ok(self.effective_config())
    }

    pub(super) async fn set_quota(&self, quota: Quota) -> Result<(), UpdateError> {
        let replaced = self.limiter.replace(quota).await;
        replaced.map_err(UpdateError::Redis)
    }

    pub(super) async fn set_rule(
        &self,
        client: &ClientId<'_>,
        quota: Quota,
    ) -> Result<QuotaView, UpdateError> {
        let name = client.name();
        if self.limiter.rule(&*name).is_none() && self.limiter.rules().len() >= MAX_RULES {
            return Err(UpdateError::TooManyRules(MAX_RULES));
        }
        self.limiter
            .set_rule(&*name, quota)
            .await
            .map_err(UpdateError::Redis)?;
        Ok(quota.into())
    }

    pub(super) async fn remove_rule(
        &self,
        client: &ClientId<'_>,
    ) -> Result<Option<QuotaView>, UpdateError> {
        let had_rule = self
            .limiter
            .remove_rule(&*client.name())
            .await
            .map_err(UpdateError::Redis)?;
        Ok(had_rule.then(|| self.limiter.quota().into()))
    }

    /// Adds rules, retrying while Redis is unavailable. Existing rules in Redis take precedence.
    pub(super) async fn apply_initial_rules(&self, rules: Vec<Rule<'_>>) {
        let differs = |rule: &&Rule<'_>| {
            self.limiter
                .rule(&rule.name)
                .is_some_and(|current| current != rule.quota)
        };
        let differing = rules.iter().filter(differs).count();
        if differing > 0 {
            tracing::warn!(
                rules = differing,
                "rules in Redis differ from the configuration and are kept; change them with POST /admin/update-rule"
            );
        }
        self.apply(
            rules
                .into_iter()
                .map(|rule| (rule.name, RuleChange::Add(rule.quota)))
                .collect(),
        )
        .await;
    }

    /// Sets new and changed rules. Removes deleted rules, unless an administrator has changed them
    /// since.
    pub(super) async fn apply_changes(&self, set: Vec<Rule<'_>>, removed: Vec<Rule<'_>>) {
        let removed = removed
            .into_iter()
            .map(|rule| (rule.name, RuleChange::Remove(rule.quota)));
        let set = set
            .into_iter()
            .map(|rule| (rule.name, RuleChange::Set(rule.quota)));
        self.apply(removed.chain(set).collect()).await;
    }

    /// Applies changes, retrying in the background while Redis is unavailable.
    async fn apply(&self, changes: Vec<(String, RuleChange)>) {
        let pending = apply(&self.limiter, changes).await;
        if pending.is_empty() {
            return;
        }
        tracing::warn!(
            rules = pending.len(),
            "Redis unavailable; configured rules are applied when it is back"
        );
        let limiter = self.limiter.clone();
        tokio::spawn(async move {
            let mut pending = pending;
            while !pending.is_empty() {
                tokio::time::sleep(RETRY_INTERVAL).await;
                pending = apply(&limiter, pending).await;
            }
        });
    }

    pub(super) fn effective_config(&self) -> EffectiveConfig {
        // Keys are client names, so they are UTF-8 unless another program wrote them.
        let named =
            |(key, quota): (Vec<u8>, Quota)| (String::from_utf8_lossy(&key).into_owned(), quota);
        EffectiveConfig::new(
            self.limiter.quota(),
            self.limiter.rules().into_iter().map(named),
        )
    }

    pub(super) fn stats(&self) -> RedisStats {
        self.limiter.stats()
    }
}

/// Change of a client's rule by the configuration.
#[derive(Clone, Copy, Debug)]
enum RuleChange {
    /// Sets the rule, unless the client has one.
    Add(Quota),
    Set(Quota),
    /// Removes the rule, if it has this quota.
    Remove(Quota),
}

/// Applies changes and returns those that failed.
async fn apply(
    limiter: &RedisLimiter,
    changes: Vec<(String, RuleChange)>,
) -> Vec<(String, RuleChange)> {
    let mut failed = Vec::new();
    for (name, change) in changes {
        let current = limiter.rule(&name);
        let is_done = match change {
            // While Redis is down, each further rule would wait for a timeout.
            _ if !limiter.stats().up => false,
            RuleChange::Add(quota) if current.is_none() => {
                limiter.set_rule(&name, quota).await.is_ok()
            }
            RuleChange::Set(quota) if current != Some(quota) => {
                limiter.set_rule(&name, quota).await.is_ok()
            }
            RuleChange::Remove(quota) if current == Some(quota) => {
                limiter.remove_rule(&name).await.is_ok()
            }
            _ => true,
        };
        if !is_done {
            failed.push((name, change));
        }
    }
    failed
}
