//! Limiter of clients, in memory or in Redis.

use std::{borrow::Cow, time::Duration};

use tollgate::{
    Ask, BuildError, Clock, CompoundDecision, Decision, DecisionView, KeyedLimiterBuilder,
    KeyedStats, Quota, RedisAsk, RedisCompoundDecision, RedisError, RedisStats, Refused,
    all_in_redis, all_in_redis_within_each, all_of,
};

use super::{
    config::{ConfiguredLimits, DefaultUpdate, EffectiveConfig, QuotaView, UpdateError},
    memory::MemoryLimiter,
    redis::SharedLimiter,
    state::StateFile,
};
use crate::{config::Redis, request::client_id::ClientId};

/// Tokens of one of several limiters.
pub(crate) struct Take<'a> {
    pub(crate) limiter: &'a Limiter,
    pub(crate) client: &'a ClientId<'a>,
    pub(crate) cost: u32,
    /// It takes nothing, and refuses nevertheless. Only in Redis.
    pub(crate) only_looks: bool,
}

/// Decisions of several limiters: all allowed, or nothing was taken.
pub(crate) struct Taken {
    /// `None`: another limiter refuses, and the decision of this one is unknown.
    pub(crate) views: Vec<Option<DecisionView>>,
    /// Index of the one that refuses, or allows the fewest further requests.
    pub(crate) deciding: usize,
    /// Its decision.
    pub(crate) decision: DecisionView,
}

impl Taken {
    fn of<const K: usize>(decision: &CompoundDecision<'_, K>) -> Option<Taken> {
        let deciding = decision.tightest();
        Some(Taken {
            decision: decision.part(deciding)?,
            views: decision.parts().map(Some).collect(),
            deciding,
        })
    }

    fn of_redis(decision: &RedisCompoundDecision<'_>) -> Option<Taken> {
        let deciding = decision.tightest();
        Some(Taken {
            decision: decision.part(deciding)?,
            views: decision.parts().collect(),
            deciding,
        })
    }
}

/// Names of the clients of several limiters in Redis.
fn names_of<'a>(takes: &[Take<'a>]) -> Vec<Cow<'a, str>> {
    takes.iter().map(|take| take.client.name()).collect()
}

fn redis_asks<'a>(takes: &[Take<'a>], names: &'a [Cow<'_, str>]) -> Vec<RedisAsk<'a>> {
    let takes = takes.iter().zip(names);
    let asks = takes.filter_map(|(take, name)| match take.limiter {
        Limiter::Memory(_) => None,
        Limiter::Redis(shared) if take.only_looks => Some(shared.ask(name, take.cost).only_look()),
        Limiter::Redis(shared) => Some(shared.ask(name, take.cost)),
    });
    asks.collect()
}

/// Limiter of clients.
pub(crate) enum Limiter {
    Memory(MemoryLimiter),
    Redis(SharedLimiter),
}

impl Limiter {
    /// Creates a limiter in memory.
    pub(crate) fn in_memory(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<Limiter, BuildError> {
        MemoryLimiter::new(builder).map(Limiter::Memory)
    }

    /// Opens a limiter in memory that other processes share, or creates it. Its clock is that of the file.
    pub(crate) fn in_file(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
        file: &StateFile<'_>,
    ) -> Result<Limiter, String> {
        MemoryLimiter::open(builder, file).map(Limiter::Memory)
    }

    /// Creates a limiter in Redis and connects it. A manual clock is that of Redis as well.
    ///
    /// # Errors
    /// The URL is unusable, or the password is wrong. An unreachable Redis is no error.
    pub(crate) async fn in_redis(
        redis: &Redis,
        quota: Quota,
        max_clients: usize,
        clock: Clock,
    ) -> Result<Limiter, RedisError> {
        SharedLimiter::connect(redis, quota, max_clients, clock)
            .await
            .map(Limiter::Redis)
    }

    /// Decides without waiting. Returns `None` if the decision needs a request to Redis.
    #[inline]
    pub(crate) fn try_acquire(&self, client: &ClientId<'_>, cost: u32) -> Option<Decision> {
        match self {
            Limiter::Memory(memory) => Some(memory.try_acquire(client, cost)),
            Limiter::Redis(shared) => shared.try_acquire_at_once(client, cost),
        }
    }

    /// Returns what a request would get, and takes nothing. `None`: the tokens are in Redis.
    pub(crate) fn look(&self, client: &ClientId<'_>, cost: u32) -> Option<DecisionView> {
        match self {
            Limiter::Memory(memory) => Some(memory.look(client, cost)),
            Limiter::Redis(_) => None,
        }
    }

    /// Asks for tokens, as one of several limits. Returns `None` if they are in Redis.
    pub(crate) fn ask<'a>(&'a self, client: &ClientId<'a>, cost: u32) -> Option<Ask<'a>> {
        match self {
            Limiter::Memory(memory) => Some(memory.ask(client, cost)),
            Limiter::Redis(_) => None,
        }
    }

    /// Decides, waiting for Redis if necessary, but not for tokens.
    pub(crate) async fn acquire(&self, client: &ClientId<'_>, cost: u32) -> Decision {
        match self {
            Limiter::Memory(memory) => memory.try_acquire(client, cost),
            Limiter::Redis(shared) => shared.try_acquire(client, cost).await,
        }
    }

    /// Takes from several limiters, or from none: in memory at once, in Redis with one script where that
    /// is possible. `None`: there are more than [`MAX_LIMITS`](tollgate::MAX_LIMITS), and nothing was
    /// taken.
    pub(crate) async fn acquire_all(takes: &[Take<'_>]) -> Option<Taken> {
        let asks = takes
            .iter()
            .map(|take| take.limiter.ask(take.client, take.cost));
        if let Some(asks) = asks.collect::<Option<Vec<_>>>() {
            return Taken::of(&all_of(&asks).ok()?.try_acquire());
        }
        let names = names_of(takes);
        let decision = all_in_redis(&redis_asks(takes, &names)).await;
        Taken::of_redis(&decision.ok()?)
    }

    /// Takes from several limiters, or from none, and waits for the tokens of each at most as long as
    /// `waits` says. `None`: there are more than [`MAX_LIMITS`](tollgate::MAX_LIMITS), and nothing was
    /// taken.
    pub(crate) async fn acquire_all_within(
        takes: &[Take<'_>],
        waits: &[Duration],
    ) -> Option<Taken> {
        let asks = takes
            .iter()
            .map(|take| take.limiter.ask(take.client, take.cost));
        let Some(asks) = asks.collect::<Option<Vec<_>>>() else {
            let names = names_of(takes);
            let asks = redis_asks(takes, &names);
            return Taken::of_redis(&all_in_redis_within_each(&asks, waits).await.ok()?);
        };
        let all = all_of(&asks).ok()?;
        match all.acquire_within_each(waits).await {
            Ok(decision) => Taken::of(&decision),
            Err(refused) => {
                // The state of all limits, for the headers. Where it allows the request, a line of
                // others that wait refuses it.
                let look = all.look();
                let mut taken = Taken::of(&look)?;
                if look.is_allowed() {
                    taken.decision = refused.decision();
                }
                Some(taken)
            }
        }
    }

    /// Returns true when the buckets are in Redis.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Limiter::Redis(_))
    }

    /// Returns true when requests wait for tokens of the client.
    pub(crate) fn has_waiters(&self, client: &ClientId<'_>) -> bool {
        match self {
            Limiter::Memory(memory) => memory.has_waiters(client),
            Limiter::Redis(shared) => shared.has_waiters(client),
        }
    }

    /// Takes the tokens, and waits for them in the order of arrival, at most as long as `max_wait`.
    pub(crate) async fn acquire_within(
        &self,
        client: &ClientId<'_>,
        cost: u32,
        max_wait: Duration,
    ) -> Result<Decision, Refused> {
        match self {
            Limiter::Memory(memory) => memory.acquire_within(client, cost, max_wait).await,
            Limiter::Redis(shared) => shared.acquire_within(client, cost, max_wait).await,
        }
    }

    /// Returns the tokens of a decision to the client's bucket.
    pub(crate) async fn refund(&self, client: &ClientId<'_>, decision: Decision) {
        match self {
            Limiter::Memory(memory) => memory.refund(client, decision),
            Limiter::Redis(shared) => shared.refund(client, decision).await,
        }
    }

    /// Returns the quota of a client: that of its rule, or the default quota. Rules in Redis are
    /// not asked for.
    pub(crate) fn quota_of(&self, client: &ClientId<'_>) -> Quota {
        match self {
            Limiter::Memory(memory) => memory.quota_of(client),
            Limiter::Redis(shared) => shared.quota(),
        }
    }

    /// Returns the default quota.
    pub(crate) fn quota(&self) -> Quota {
        match self {
            Limiter::Memory(memory) => memory.quota(),
            Limiter::Redis(shared) => shared.quota(),
        }
    }

    /// Returns the quota of this process and the one by which another process has replaced it since the
    /// last call.
    pub(crate) fn adopted_quota(&self) -> Option<(Quota, Quota)> {
        match self {
            Limiter::Memory(memory) => memory.adopted_quota(),
            Limiter::Redis(_) => None,
        }
    }

    /// Copies the buckets and the rules, if the settings have a directory for copies.
    pub(crate) fn copy(&self) -> Result<(), String> {
        match self {
            Limiter::Memory(memory) => memory.copy(),
            Limiter::Redis(_) => Ok(()),
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

    /// Sets the default quota. A changed one fills every bucket.
    pub(crate) async fn set_quota(&self, quota: Quota) -> Result<QuotaView, UpdateError> {
        match self {
            Limiter::Memory(memory) => memory.set_quota(quota)?,
            Limiter::Redis(shared) => shared.set_quota(quota).await?,
        }
        Ok(quota.into())
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
            Limiter::Memory(memory) => memory.remove_rule(client),
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
