//! Limiter of the server, in memory or in Redis, and the limits that requests are charged against.

pub(crate) mod charge;
mod memory;
pub(crate) mod pricing;
mod redis;
pub(crate) mod route_limits;
mod routes;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use tollgate::{
    BuildError, Decision, KeyedLimiterBuilder, KeyedStats, Quota, QuotaError, RedisError,
    RedisStats, SharedDecision,
};

use self::{memory::MemoryLimiter, redis::SharedLimiter};
use crate::{
    config::{MAX_RULES, Redis},
    request::client_id::ClientId,
};

/// Limiter of clients.
pub(crate) enum Limiter {
    Memory(MemoryLimiter),
    Redis(SharedLimiter),
}

/// Decision about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitDecision {
    pub(crate) decision: Decision,
    /// The same decision with the data to refund it, if it comes from [`Limiter::Redis`].
    shared: Option<SharedDecision>,
}

/// Update of the default quota. Omitted values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DefaultUpdate {
    pub(crate) capacity: Option<u32>,
    /// Tokens per second, refilled greedily. Replaces an interval refill.
    pub(crate) refill_rate: Option<f64>,
}

/// Effective configuration of limits, as `GET /config` returns it.
#[derive(Debug, Serialize)]
pub(crate) struct EffectiveConfig {
    #[serde(flatten)]
    default: QuotaView,
    /// By client id.
    rules: BTreeMap<String, QuotaView>,
    /// By label, the routes with limits of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<String, QuotaView>,
}

/// JSON form of a quota in the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct QuotaView {
    capacity: u32,
    refill_rate: f64,
    mode: &'static str,
    /// Length of the interval in seconds, for interval quotas.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
}

/// Limits of clients in a configuration.
pub(crate) struct ConfiguredLimits<'a> {
    pub(crate) default: Quota,
    pub(crate) rules: Vec<(ClientId<'a>, Quota)>,
}

/// Error of an update of limits.
#[derive(Debug)]
pub(crate) enum UpdateError {
    /// The values are not a valid quota together.
    Quota(QuotaError),
    /// The number of rules would exceed [`MAX_RULES`].
    TooManyRules,
    Redis(RedisError),
}

impl Limiter {
    /// Creates a limiter in memory.
    pub(crate) fn in_memory(builder: KeyedLimiterBuilder) -> Result<Limiter, BuildError> {
        MemoryLimiter::new(builder).map(Limiter::Memory)
    }

    /// Creates a limiter in Redis and connects it.
    ///
    /// # Errors
    /// The URL is unusable, or the password is wrong. An unreachable Redis is no error.
    pub(crate) async fn in_redis(
        redis: &Redis,
        quota: Quota,
        max_clients: usize,
    ) -> Result<Limiter, RedisError> {
        SharedLimiter::connect(redis, quota, max_clients)
            .await
            .map(Limiter::Redis)
    }

    /// Decides without waiting. Returns `None` if the decision needs a request to Redis.
    #[inline]
    pub(crate) fn try_acquire(&self, client: &ClientId<'_>, cost: u32) -> Option<LimitDecision> {
        match self {
            Limiter::Memory(memory) => Some(memory.try_acquire(client, cost)),
            Limiter::Redis(shared) => shared.try_acquire_at_once(client, cost),
        }
    }

    /// Decides, waiting for Redis if necessary.
    pub(crate) async fn acquire(&self, client: &ClientId<'_>, cost: u32) -> LimitDecision {
        match self {
            Limiter::Memory(memory) => memory.try_acquire(client, cost),
            Limiter::Redis(shared) => shared.try_acquire(client, cost).await,
        }
    }

    /// Returns the tokens of a decision to the client's bucket.
    pub(crate) async fn refund(&self, client: &ClientId<'_>, decision: LimitDecision) {
        match (self, decision.shared) {
            (Limiter::Memory(memory), _) => memory.refund(client, decision.decision),
            (Limiter::Redis(shared), Some(decision)) => shared.refund(client, decision).await,
            (Limiter::Redis(_), None) => {}
        }
    }

    /// Returns the default quota.
    pub(crate) fn quota(&self) -> Quota {
        match self {
            Limiter::Memory(memory) => memory.quota(),
            Limiter::Redis(shared) => shared.quota(),
        }
    }

    /// Updates the default quota for all clients in one step, and resets every bucket to full.
    pub(crate) async fn replace(
        &self,
        update: DefaultUpdate,
    ) -> Result<EffectiveConfig, UpdateError> {
        match self {
            Limiter::Memory(memory) => memory.replace(update),
            Limiter::Redis(shared) => shared.replace(update).await,
        }
    }

    /// Sets a client's own quota.
    pub(crate) async fn set_rule(
        &self,
        client: &ClientId<'_>,
        quota: Quota,
    ) -> Result<QuotaView, UpdateError> {
        match self {
            Limiter::Memory(memory) => memory.set_rule(client, quota),
            Limiter::Redis(shared) => shared.set_rule(client, quota).await,
        }
    }

    /// Removes a client's own quota. Returns the default quota, which now applies to the client, or
    /// `None` if the client had no own quota.
    pub(crate) async fn remove_rule(
        &self,
        client: &ClientId<'_>,
    ) -> Result<Option<QuotaView>, UpdateError> {
        match self {
            Limiter::Memory(memory) => Ok(memory.remove_rule(client)),
            Limiter::Redis(shared) => shared.remove_rule(client).await,
        }
    }

    /// Applies the rules of the configuration at start. In Redis, existing rules take precedence:
    /// an administrator may have set them.
    pub(crate) async fn apply_initial_rules(
        &self,
        rules: Vec<(ClientId<'_>, Quota)>,
    ) -> Result<(), UpdateError> {
        match self {
            Limiter::Memory(memory) => {
                let default = memory.quota();
                memory.apply_changes(
                    &ConfiguredLimits {
                        default,
                        rules: Vec::new(),
                    },
                    &ConfiguredLimits { default, rules },
                )
            }
            Limiter::Redis(shared) => {
                shared
                    .apply_initial_rules(
                        ConfiguredLimits {
                            default: shared.quota(),
                            rules,
                        }
                        .named_rules()
                        .collect(),
                    )
                    .await;
                Ok(())
            }
        }
    }

    /// Applies the differences between the old and the new configuration at a reload.
    ///
    /// Values that are equal in both are kept, also when an administrator has changed them since,
    /// and so are the buckets. In Redis, the default quota is kept, because other instances share
    /// it.
    pub(crate) async fn apply_changes(
        &self,
        old: ConfiguredLimits<'_>,
        new: ConfiguredLimits<'_>,
    ) -> Result<(), UpdateError> {
        match self {
            Limiter::Memory(memory) => memory.apply_changes(&old, &new),
            Limiter::Redis(shared) => {
                let (set, removed) = new.rule_changes_since(&old);
                shared.apply_changes(set, removed).await;
                Ok(())
            }
        }
    }

    /// Returns the default quota and the rules.
    pub(crate) fn effective_config(&self) -> EffectiveConfig {
        match self {
            Limiter::Memory(memory) => memory.effective_config(),
            Limiter::Redis(shared) => shared.effective_config(),
        }
    }

    /// Returns leased tokens to Redis before the process exits.
    pub(crate) async fn close(&self) {
        if let Limiter::Redis(shared) = self {
            shared.close().await;
        }
    }

    /// Returns the statistics of the bucket table, or `None` if the buckets are in Redis.
    pub(crate) fn table_stats(&self) -> Option<KeyedStats> {
        match self {
            Limiter::Memory(memory) => Some(memory.stats()),
            Limiter::Redis(_) => None,
        }
    }

    /// Returns the statistics of Redis, or `None` if the buckets are in memory.
    pub(crate) fn redis_stats(&self) -> Option<RedisStats> {
        match self {
            Limiter::Memory(_) => None,
            Limiter::Redis(shared) => Some(shared.stats()),
        }
    }
}

/// Rule of a configuration: a client with its own quota.
struct Rule<'a> {
    client: &'a ClientId<'a>,
    name: String,
    quota: Quota,
}

impl ConfiguredLimits<'_> {
    fn named_rules(&self) -> impl Iterator<Item = Rule<'_>> {
        self.rules.iter().map(|(client, quota)| Rule {
            client,
            name: client.name().into_owned(),
            quota: *quota,
        })
    }

    /// Returns the rules that are new or changed since `old`, and the removed ones.
    fn rule_changes_since<'a>(
        &'a self,
        old: &'a ConfiguredLimits<'a>,
    ) -> (Vec<Rule<'a>>, Vec<Rule<'a>>) {
        let by_name = |limits: &ConfiguredLimits<'_>| -> BTreeMap<String, Quota> {
            let rules = limits.named_rules();
            rules.map(|rule| (rule.name, rule.quota)).collect()
        };
        let (before, after) = (by_name(old), by_name(self));
        let set = self
            .named_rules()
            .filter(|rule| before.get(&rule.name) != Some(&rule.quota))
            .collect();
        let removed = old
            .named_rules()
            .filter(|rule| !after.contains_key(&rule.name))
            .collect();
        (set, removed)
    }
}

impl DefaultUpdate {
    /// Returns the quota that results from updating `old`.
    fn apply(self, old: Quota) -> Result<Quota, UpdateError> {
        let capacity = self.capacity.unwrap_or(old.capacity());
        match self.refill_rate {
            Some(rate) => Quota::from_rate(capacity, rate),
            None => old.try_with_capacity(capacity),
        }
        .map_err(UpdateError::Quota)
    }
}

impl EffectiveConfig {
    fn new(default: Quota, rules: impl IntoIterator<Item = (String, Quota)>) -> EffectiveConfig {
        let rules = rules
            .into_iter()
            .map(|(name, quota)| (name, quota.into()))
            .collect();
        EffectiveConfig {
            default: default.into(),
            rules,
            routes: BTreeMap::new(),
        }
    }

    /// Adds the quotas of routes.
    pub(crate) fn with_routes(self, routes: BTreeMap<String, QuotaView>) -> EffectiveConfig {
        EffectiveConfig { routes, ..self }
    }
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> QuotaView {
        let every = quota.is_interval().then(|| quota.period());
        QuotaView {
            capacity: quota.capacity(),
            refill_rate: quota.tokens_per_second(),
            mode: if every.is_some() {
                "interval"
            } else {
                "greedy"
            },
            every: every.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Quota(error) => error.fmt(f),
            UpdateError::TooManyRules => {
                write!(f, "expected at most {MAX_RULES} rules")
            }
            UpdateError::Redis(error) => error.fmt(f),
        }
    }
}

impl LimitDecision {
    /// Returns the fallback policy (`local`, `open` or `closed`) that made the decision because
    /// Redis was unavailable.
    #[inline]
    pub(crate) fn fallback(&self) -> Option<&'static str> {
        self.shared?.source().without_redis()
    }
}

impl From<Decision> for LimitDecision {
    fn from(decision: Decision) -> LimitDecision {
        LimitDecision {
            decision,
            shared: None,
        }
    }
}

impl From<SharedDecision> for LimitDecision {
    fn from(shared: SharedDecision) -> LimitDecision {
        LimitDecision {
            decision: shared.decision(),
            shared: Some(shared),
        }
    }
}
