//! State shared by all clones of a limiter and by its background tasks. Chooses between lease,
//! Redis and fallback.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::sleep;

use super::{
    bucket_name::bounded,
    error::RedisError,
    fallback::Fallback,
    health::RedisStats,
    lease::driver::{LeaseDriver, maintenance_interval},
    line::RedisLines,
    settings::Settings,
    settings_sync::SettingsSync,
    store::Store,
};
use crate::{
    decision::{Decision, DecisionSource, RefundError},
    origin::{self, Origin},
    quota::Quota,
};

pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) settings: SettingsSync,
    pub(super) lines: Arc<RedisLines>,
    leases: LeaseDriver,
    fallback: Arc<Fallback>,
    /// Number of the limiter, spread over 64 bits. With a key's hash it identifies the key's bucket
    /// in decisions.
    number: u64,
    hasher: RandomState,
}

impl Inner {
    /// Makes the state of a limiter that is not connected yet.
    ///
    /// Callers wait on at most `max_keys` keys at once.
    pub(super) fn new(store: Store, fallback: Fallback, quota: Quota, max_keys: usize) -> Inner {
        let (store, fallback) = (Arc::new(store), Arc::new(fallback));
        let leases = LeaseDriver::new(Arc::clone(&store));
        let lines = Arc::new(RedisLines::new(max_keys));
        let settings = SettingsSync::new(
            Arc::clone(&store),
            leases.clone(),
            Arc::clone(&fallback),
            Arc::clone(&lines),
            Settings::initial(&store.keyspace, quota),
        );
        Inner {
            store,
            settings,
            lines,
            leases,
            fallback,
            number: origin::spread(origin::draw()),
            hasher: RandomState::default(),
        }
    }

    /// Decides without waiting: from leased tokens, from a remembered refusal, or by the fallback
    /// while Redis is unavailable. `None`: Redis has to be asked.
    #[inline]
    pub(super) fn try_acquire_now(&self, key: &[u8], cost: u32) -> Option<Decision> {
        let (settings, name) = (self.settings.load(), bounded(key));
        let namespace = settings.namespace(key);
        if let Some(keys) = &namespace.keys
            && let Some(decision) = self.leases.try_take(namespace, keys, &name, cost)
        {
            return Some(self.with_maker(key, decision));
        }
        if !self.store.health.is_up() {
            return Some(self.fall_back(key, cost));
        }
        let decision = self.store.remembered(namespace, &name, cost)?;
        Some(self.with_maker(key, decision))
    }

    /// Decides, with at most one request to Redis.
    pub(super) async fn try_acquire(&self, key: &[u8], cost: u32) -> Decision {
        if let Some(decision) = self.try_acquire_now(key, cost) {
            return decision;
        }
        let namespace = Arc::clone(self.settings.load().namespace(key));
        let name = bounded(key);
        let decision = match &namespace.keys {
            Some(keys) => self.leases.take(&namespace, keys, &name, cost).await,
            None => self.store.take(&namespace, &name, cost).await,
        };
        match decision {
            Some(decision) => self.with_maker(key, decision),
            None => self.fall_back(key, cost),
        }
    }

    /// Adds this limiter and the key to the origin of a decision.
    #[inline]
    pub(super) fn with_maker(&self, key: &[u8], decision: Decision) -> Decision {
        let origin = decision.origin();
        decision.with_origin(Origin {
            maker: self.maker(key),
            ..origin
        })
    }

    #[inline]
    fn maker(&self, key: &[u8]) -> u64 {
        self.number ^ self.hasher.hash_one(key)
    }

    /// Returns the refusal of a request without Redis, if the fallback refuses every request.
    pub(super) fn unavailable(&self, key: &[u8], cost: u32) -> Option<Decision> {
        matches!(*self.fallback, Fallback::Closed).then(|| self.fall_back(key, cost))
    }

    #[inline]
    pub(super) fn fall_back(&self, key: &[u8], cost: u32) -> Decision {
        self.store.health.count_fallback();
        let decision = self.fallback.decide(key, cost, || {
            self.settings.load().namespace(key).limit.layout
        });
        match decision.source() {
            // Its origin is the local limiter.
            DecisionSource::Local => decision,
            _ => self.with_maker(key, decision),
        }
    }

    /// Undoes a decision where it was made. Returns whether tokens were given back.
    pub(super) async fn refund(&self, key: &[u8], decision: Decision) -> Result<bool, RefundError> {
        let source = decision.source();
        if source == DecisionSource::Local {
            return self.fallback.refund(key, decision);
        }
        if decision.origin().maker != self.maker(key) {
            return Err(RefundError::new(decision));
        }
        Ok(match source {
            DecisionSource::Redis => {
                let settings = self.settings.load_full();
                self.store
                    .refund(settings.namespace(key), &bounded(key), &decision)
                    .await
            }
            DecisionSource::Lease => {
                let settings = self.settings.load();
                self.leases
                    .unspend(settings.namespace(key), &bounded(key), &decision)
            }
            DecisionSource::Memory
            | DecisionSource::Local
            | DecisionSource::Open
            | DecisionSource::Closed => false,
        })
    }

    /// Makes the key's bucket full, in this process and in Redis.
    pub(super) async fn reset(&self, key: &[u8]) -> Result<(), RedisError> {
        self.fallback.reset(key);
        let settings = self.settings.load_full();
        let reset = self
            .store
            .reset(settings.namespace(key), &bounded(key))
            .await;
        // Also after an error: the bucket may have been reset.
        self.lines.notify(key);
        reset
    }

    /// Grants nothing on the key for `time`, in this process and in Redis.
    pub(super) async fn pause(&self, key: &[u8], time: Duration) -> Result<(), RedisError> {
        if time.is_zero() {
            // The server would end no lease, and the tokens of this process would be lost.
            return Ok(());
        }
        let paused_locally = self.fallback.pause(key, time);
        let (settings, name) = (self.settings.load_full(), bounded(key));
        let namespace = settings.namespace(key);
        let paused = self.store.pause(namespace, &name, time).await;
        // Also after an error: the bucket may have been paused.
        if let Some(keys) = &namespace.keys {
            keys.with(&name, |key| key.on_paused());
        }
        self.lines.notify(key);
        paused?;
        paused_locally.map_err(RedisError::Pauses)
    }

    /// Reconnects, synchronises the settings, and closes the breaker if all of it succeeds.
    pub(super) async fn recover(&self) -> Result<(), RedisError> {
        self.store.probe().await?;
        self.settings.offer_initial().await?;
        self.settings.pull().await?;
        self.store.health.record_recovery();
        Ok(())
    }

    /// Returns expired leases, forever.
    pub(super) async fn maintain_leases(self: Arc<Self>) {
        loop {
            sleep(maintenance_interval()).await;
            for namespace in self.settings.load_full().namespaces() {
                self.leases.maintain(namespace);
            }
        }
    }

    /// Returns all tokens on lease. From then on, tokens are taken one by one.
    pub(super) async fn close(&self) {
        for namespace in self.settings.load_full().namespaces() {
            self.leases.return_all(namespace).await;
        }
    }

    pub(super) fn stats(&self) -> RedisStats {
        self.store.health.stats()
    }
}
