//! Learning what the shared settings are, and changing them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use super::{
    error::RedisError,
    script::{Call, read},
    settings::Settings,
    shared::Shared,
};
use crate::quota::Quota;

impl Shared {
    /// Brings what is known and what stands in Redis together: the newer counts. (Redis has the
    /// older after a loss of data.)
    pub(super) async fn learn(self: &Arc<Self>) -> Result<(), RedisError> {
        let reply = self
            .client
            .send(redis::cmd("HGETALL").arg(&self.names.settings))
            .await?;
        let fields: HashMap<Vec<u8>, Vec<u8>> = read(reply)?;
        let stored = Settings::read(&self.names, &fields)?;
        let known = self.settings();
        if known.version > stored.as_ref().map_or(0, |stored| stored.version) {
            let _: u64 = read(self.client.call(&known.restore(&self.names)).await?)?;
        } else if let Some(stored) = stored {
            self.adopt(stored);
        }
        Ok(())
    }

    /// Whether Redis has another version than this instance knows.
    pub(super) async fn is_behind(&self) -> Result<bool, RedisError> {
        let reply = self
            .client
            .send(redis::cmd("HGET").arg(&self.names.settings).arg("version"))
            .await?;
        let version: Option<u64> = read(reply)?;
        Ok(version != Some(self.settings().version))
    }

    /// Offers the quota that this instance was started with.
    pub(super) async fn start(&self) -> Result<(), RedisError> {
        let settings = self.settings();
        if settings.version == 0 {
            let quota = settings.default.limit.quota.to_string();
            let call = self.names.change(0, "start").bytes(quota.as_bytes());
            let _: u64 = read(self.client.call(&call).await?)?;
        }
        Ok(())
    }

    /// Replaces the default for all instances.
    pub(super) async fn replace(self: &Arc<Self>, quota: Quota) -> Result<(), RedisError> {
        self.change("replace", |call| call.bytes(quota.to_string().as_bytes()))
            .await
            .map(drop)
    }

    pub(super) async fn set_rule(
        self: &Arc<Self>,
        key: &[u8],
        quota: Quota,
    ) -> Result<(), RedisError> {
        self.change("rule", |call| {
            call.bytes(key).bytes(quota.to_string().as_bytes())
        })
        .await
        .map(drop)
    }

    /// Whether there was such a rule.
    pub(super) async fn remove_rule(self: &Arc<Self>, key: &[u8]) -> Result<bool, RedisError> {
        Ok(self.change("unrule", |call| call.bytes(key)).await? > 0)
    }

    /// Learns what there is, changes it, and learns the change.
    async fn change(
        self: &Arc<Self>,
        verb: &str,
        with: impl FnOnce(Call<'_>) -> Call<'_>,
    ) -> Result<u64, RedisError> {
        self.learn().await?;
        let call = with(self.names.change(self.settings().version, verb));
        let version = read(self.client.call(&call).await?)?;
        self.learn().await?;
        Ok(version)
    }

    /// Takes newer settings over.
    fn adopt(self: &Arc<Self>, mut settings: Settings) {
        let _one_by_one = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.settings();
        if settings.version > known.version {
            self.fallback.adopt(&known, &settings);
            let gone = settings.succeed(&known);
            self.settings.store(Arc::new(settings));
            for owner in gone {
                let shared = Arc::clone(self);
                self.runtime
                    .spawn(async move { shared.hand_back(&owner).await });
            }
        }
    }
}
