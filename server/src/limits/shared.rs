//! Buckets and rules in Redis, where other instances see them as well. A client's name is its key.

use std::time::Duration;

use tollgate::{Quota, RedisError, RedisLimiter, RedisLimiterBuilder, RedisStats, SharedDecision};

use super::{Decided, InForce, NewDefault, NotChanged, Rule, Shown};
use crate::{
    client::Id,
    config::{MAX_RULES, Redis},
    values::RedisUrl,
};

/// The pause before a Redis that could not be asked is told of the rules of the configuration
/// again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    limiter: RedisLimiter,
}

impl Shared {
    pub(super) async fn connect(
        redis: &Redis,
        quota: Quota,
        max_clients: usize,
    ) -> Result<Shared, RedisError> {
        let RedisUrl(url) = &redis.url;
        let builder = RedisLimiter::builder(url, quota)
            .prefix(&redis.prefix)
            .timeout(redis.timeout);
        let builder = builder.on_error(redis.on_error).max_keys(max_clients);
        let builder = redis
            .lease_fraction
            .into_iter()
            .fold(builder, RedisLimiterBuilder::lease);
        Ok(Shared {
            limiter: builder.connect().await?,
        })
    }

    /// Decides, if nobody need be asked for it.
    pub(super) fn try_acquire_at_once(&self, id: &Id<'_>, cost: u32) -> Option<Decided> {
        self.limiter
            .try_acquire_at_once(&*id.name(), cost)
            .map(Decided::from)
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
        self.limiter
            .replace(quota)
            .await
            .map_err(NotChanged::Redis)?;
        tracing::info!(old = %old, new = %quota, "the default limit changed for all instances, all buckets are full");
        Ok(self.in_force())
    }

    pub(super) async fn set_rule(&self, id: &Id<'_>, quota: Quota) -> Result<Shown, NotChanged> {
        let name = id.name();
        if self.limiter.rule(&*name).is_none() && self.limiter.rules().len() >= MAX_RULES {
            return Err(NotChanged::TooManyRules);
        }
        self.limiter
            .set_rule(&*name, quota)
            .await
            .map_err(NotChanged::Redis)?;
        Ok(quota.into())
    }

    pub(super) async fn remove_rule(&self, id: &Id<'_>) -> Result<Option<Shown>, NotChanged> {
        let had_one = self
            .limiter
            .remove_rule(&*id.name())
            .await
            .map_err(NotChanged::Redis)?;
        Ok(had_one.then(|| self.limiter.quota().into()))
    }

    /// Offers rules until Redis has them; those that it has already stay.
    pub(super) async fn start_with(&self, rules: Vec<Rule<'_>>) {
        let is_other = |rule: &&Rule<'_>| {
            self.limiter
                .rule(&rule.name)
                .is_some_and(|there| there != rule.quota)
        };
        let others = rules.iter().filter(is_other).count();
        if others > 0 {
            tracing::warn!(
                rules = others,
                "Redis has other limits for clients that the configuration has rules for: they stay, and POST /admin/update-rule changes them"
            );
        }
        self.fulfil(
            rules
                .into_iter()
                .map(|rule| (rule.name, Wish::Offered(rule.quota)))
                .collect(),
        )
        .await;
    }

    /// Puts what is new in the configuration in force, and takes back what it no longer has, if
    /// nobody has changed it since.
    pub(super) async fn take_over(&self, set: Vec<Rule<'_>>, gone: Vec<Rule<'_>>) {
        let gone = gone
            .into_iter()
            .map(|rule| (rule.name, Wish::Gone(rule.quota)));
        let set = set
            .into_iter()
            .map(|rule| (rule.name, Wish::Set(rule.quota)));
        self.fulfil(gone.chain(set).collect()).await;
    }

    async fn fulfil(&self, wishes: Vec<(String, Wish)>) {
        let left = fulfil(&self.limiter, wishes).await;
        if left.is_empty() {
            return;
        }
        tracing::warn!(
            rules = left.len(),
            "Redis cannot be asked: the configured rules are in force when it is back"
        );
        let limiter = self.limiter.clone();
        tokio::spawn(async move {
            let mut left = left;
            while !left.is_empty() {
                tokio::time::sleep(AGAIN).await;
                left = fulfil(&limiter, left).await;
            }
        });
    }

    pub(super) fn in_force(&self) -> InForce {
        // Names were text when they came.
        let named =
            |(key, quota): (Vec<u8>, Quota)| (String::from_utf8_lossy(&key).into_owned(), quota);
        InForce::new(
            self.limiter.quota(),
            self.limiter.rules().into_iter().map(named),
        )
    }

    pub(super) fn stats(&self) -> RedisStats {
        self.limiter.stats()
    }
}

/// What a configuration has to say of a client's rule.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// It is this, unless there is one.
    Offered(Quota),
    /// It is this.
    Set(Quota),
    /// There is none, if it was this.
    Gone(Quota),
}

/// Returns those that could not be fulfilled.
async fn fulfil(limiter: &RedisLimiter, wishes: Vec<(String, Wish)>) -> Vec<(String, Wish)> {
    let mut left = Vec::new();
    for (name, wish) in wishes {
        let there = limiter.rule(&name);
        let is_done = match wish {
            // Who knows that Redis is down does not wait for it once for every rule.
            _ if !limiter.stats().up => false,
            Wish::Offered(quota) if there.is_none() => limiter.set_rule(&name, quota).await.is_ok(),
            Wish::Set(quota) if there != Some(quota) => {
                limiter.set_rule(&name, quota).await.is_ok()
            }
            Wish::Gone(was) if there == Some(was) => limiter.remove_rule(&name).await.is_ok(),
            _ => true,
        };
        if !is_done {
            left.push((name, wish));
        }
    }
    left
}
