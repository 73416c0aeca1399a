//! Bans: a key that a limit refuses too often is refused for a time, whatever its tokens.
//!
//! A ban is two further buckets of the key. The first is charged for each refusal by the limit. When
//! it is empty, the second one, an interval quota of one token, is charged, and the key is banned until
//! that token is back. So a limit with a ban writes on a refusal, which other limits never do.
//!
//! In Redis, all instances share both. Whether a key is banned is asked by the script that takes its
//! tokens: one key more, and no call. A refusal is one call more, and that which begins a ban is three.
//! Both are exact, also where limits have leases: the ban is a call then that the limits do not need.

use std::sync::Arc;

use tollgate::{Clock, Decision, DecisionView, KeyedLimiter, Outcome, Quota};

use super::{
    limiter::{Limiter, Take},
    state::StateFile,
};
use crate::{
    config::{self, Redis, State},
    request::client_id::ClientId,
};

/// Ban of the keys of a limit.
pub(crate) struct Ban {
    settings: config::Ban,
    policy: Arc<str>,
    refusals: Limiter,
    bans: Limiter,
}

impl Ban {
    /// Creates the ban of a limit, whose refusals are of the policy `name`.
    pub(super) async fn new(
        name: &str,
        settings: config::Ban,
        max_clients: usize,
        clock: &Clock,
        (state, redis): (Option<&State>, Option<&Redis>),
    ) -> Result<Ban, String> {
        let limiter = async |kind: &'static str, quota: Quota| match (redis, state) {
            (None, Some(state)) => {
                let builder = KeyedLimiter::builder(quota).max_keys(max_clients);
                let file = StateFile {
                    state,
                    kind,
                    label: name,
                };
                Limiter::in_file(builder, &file)
            }
            (None, None) => {
                let builder = KeyedLimiter::builder(quota).clock(clock.clone());
                Limiter::in_memory(builder.max_keys(max_clients))
                    .map_err(|error| format!("limits: {name}: max_clients: {error}"))
            }
            (Some(redis), _) => {
                let redis = Redis {
                    prefix: format!("{}:{kind}:{name}", redis.prefix),
                    lease_fraction: None,
                    hash_tags: true,
                    ..redis.clone()
                };
                let limiter = Limiter::in_redis(&redis, quota, max_clients, clock.clone()).await;
                limiter.map_err(|error| format!("limits: {name}: redis: {error}"))
            }
        };
        Ok(Ban {
            settings,
            policy: name.into(),
            refusals: limiter("refusals", settings.refusals).await?,
            bans: limiter("ban", settings.ban).await?,
        })
    }

    /// Copies its buckets, if the settings have a directory for copies.
    pub(super) fn copy(&self) -> Result<(), String> {
        self.refusals.copy()?;
        self.bans.copy()
    }

    pub(super) fn settings(&self) -> config::Ban {
        self.settings
    }

    /// Name of the policy that refuses banned keys.
    pub(super) fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// Returns the look for a ban in Redis, as one of several limits.
    pub(super) fn look<'a>(&'a self, client: &'a ClientId<'a>) -> Option<Take<'a>> {
        self.bans.is_shared().then_some(Take {
            limiter: &self.bans,
            client,
            cost: 1,
            only_looks: true,
        })
    }

    /// Returns the refusal of a banned key, in memory.
    pub(super) fn refusal(&self, key: &ClientId<'_>) -> Option<DecisionView> {
        self.bans.look(key, 1).filter(DecisionView::is_refused)
    }

    /// Counts a refusal, in memory. Returns that of the ban, when it begins.
    pub(super) fn count_refusal(&self, key: &ClientId<'_>) -> Option<DecisionView> {
        if self.refusals.try_acquire(key, 1)?.is_allowed() {
            return None;
        }
        self.log(&self.bans.try_acquire(key, 1)?);
        self.refusal(key)
    }

    /// Like [`Ban::count_refusal`], in memory or in Redis. While Redis is unavailable, its fallback
    /// decides, and no key is banned without buckets.
    pub(super) async fn count_refusal_anywhere(&self, key: &ClientId<'_>) -> Option<DecisionView> {
        let counted = self.refusals.acquire(key, 1).await;
        if counted.outcome() != Outcome::Refused {
            return None;
        }
        self.log(&self.bans.acquire(key, 1).await);
        let refusal = self.bans.acquire(key, 1).await.view();
        (refusal.outcome() == Outcome::Refused).then_some(refusal)
    }

    fn log(&self, begun: &Decision) {
        if begun.is_allowed() {
            let policy = &*self.policy;
            tracing::debug!(policy, "key banned");
        }
    }
}
