//! Synchronisation of the shared settings with Redis: reads, changes, and their adoption.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, Guard};

use super::{
    error::RedisError,
    fallback::Fallback,
    lease::driver::LeaseDriver,
    line::RedisLines,
    script::{Call, read},
    settings::Settings,
    store::Store,
};
use crate::quota::Quota;

/// The settings that this process knows, kept in sync with Redis.
pub(super) struct SettingsSync {
    store: Arc<Store>,
    leases: LeaseDriver,
    fallback: Arc<Fallback>,
    /// Notified of changes.
    lines: Arc<RedisLines>,
    /// Read for every decision and written for every change.
    settings: ArcSwap<Settings>,
    /// Serialises adoptions.
    adopting: Mutex<()>,
}

impl SettingsSync {
    /// Starts with settings that were not read from Redis.
    pub(super) fn new(
        store: Arc<Store>,
        leases: LeaseDriver,
        fallback: Arc<Fallback>,
        lines: Arc<RedisLines>,
        initial: Settings,
    ) -> SettingsSync {
        SettingsSync {
            store,
            leases,
            fallback,
            lines,
            settings: ArcSwap::from_pointee(initial),
            adopting: Mutex::default(),
        }
    }

    /// Borrows the settings, for a short time and not across an `await`.
    #[inline]
    pub(super) fn load(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Returns the settings, for any time.
    pub(super) fn load_full(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Reconciles the known settings with those in Redis: the newer version wins. Redis has the
    /// older one after a loss of data.
    pub(super) async fn pull(&self) -> Result<(), RedisError> {
        let keyspace = &self.store.keyspace;
        let client = &self.store.client;
        let reply = client
            .send(redis::cmd("HGETALL").arg(&keyspace.settings))
            .await?;
        let fields: HashMap<Vec<u8>, Vec<u8>> = read(reply)?;
        let stored = Settings::read(keyspace, &fields)?;
        let known = self.load_full();
        if known.version > stored.as_ref().map_or(0, |stored| stored.version) {
            let _: u64 = read(client.call(&known.restore(keyspace)).await?)?;
        } else if let Some(stored) = stored {
            self.adopt(stored);
        }
        Ok(())
    }

    /// Pulls the settings if their version in Redis is another than the known one. A failure opens
    /// the breaker.
    pub(super) async fn poll(&self) {
        let Some(observed) = self.store.health.admit() else {
            return;
        };
        let pulled = match self.is_stale().await {
            Ok(true) => self.pull().await,
            checked => checked.map(drop),
        };
        if let Err(error) = pulled {
            self.store.health.record_failure(observed, None, &error);
        }
    }

    async fn is_stale(&self) -> Result<bool, RedisError> {
        let settings = &self.store.keyspace.settings;
        let reply = self
            .store
            .client
            .send(redis::cmd("HGET").arg(settings).arg("version"))
            .await?;
        let version: Option<u64> = read(reply)?;
        Ok(version != Some(self.load().version))
    }

    /// Offers the quota that the limiter was made with, if nothing was read from Redis yet.
    pub(super) async fn offer_initial(&self) -> Result<(), RedisError> {
        let settings = self.load_full();
        if settings.version == 0 {
            let quota = settings.default.limit.quota.to_string();
            let call = self.store.keyspace.settings_call(0, "start");
            let call = call.bytes(quota.as_bytes());
            let _: u64 = read(self.store.client.call(&call).await?)?;
        }
        Ok(())
    }

    /// Replaces the default quota for all instances, if it is another one.
    pub(super) async fn replace(&self, quota: Quota) -> Result<(), RedisError> {
        self.change("replace", |call| call.bytes(quota.to_string().as_bytes()))
            .await
            .map(drop)
    }

    /// Replaces the default quota for all instances, and fills every bucket.
    pub(super) async fn replace_and_reset(&self, quota: Quota) -> Result<(), RedisError> {
        self.change("reset", |call| call.bytes(quota.to_string().as_bytes()))
            .await
            .map(drop)
    }

    /// Sets the quota of one key for all instances, if it is another one.
    pub(super) async fn set_rule(&self, key: &[u8], quota: Quota) -> Result<(), RedisError> {
        self.change("rule", |call| {
            call.bytes(key).bytes(quota.to_string().as_bytes())
        })
        .await
        .map(drop)
    }

    /// Removes the quota of one key. Returns whether there was one.
    pub(super) async fn remove_rule(&self, key: &[u8]) -> Result<bool, RedisError> {
        Ok(self.change("unrule", |call| call.bytes(key)).await? > 0)
    }

    /// Pulls, makes one change, and pulls the result.
    async fn change(
        &self,
        verb: &str,
        with_arguments: impl FnOnce(Call) -> Call,
    ) -> Result<u64, RedisError> {
        self.pull().await?;
        let known = self.load().version;
        let call = with_arguments(self.store.keyspace.settings_call(known, verb));
        let version = read(self.store.client.call(&call).await?)?;
        self.pull().await?;
        Ok(version)
    }

    /// Adopts settings if they are newer. Leases on quotas that are gone are returned in the
    /// background.
    fn adopt(&self, mut settings: Settings) {
        let _serialised = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.load_full();
        if settings.version > known.version {
            self.fallback.apply(&known, &settings);
            let retired = settings.inherit(&known);
            self.settings.store(Arc::new(settings));
            self.lines.notify_all();
            for namespace in retired {
                let leases = self.leases.clone();
                self.store
                    .runtime
                    .spawn(async move { leases.return_all(&namespace).await });
            }
        }
    }
}
