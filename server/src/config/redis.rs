//! Settings of Redis, merged from flags and file.

use std::time::Duration;

use tollgate::RedisFallback;

use super::file::File;
use crate::{
    cli::Serve,
    values::{OnRedisError, RedisMode, RedisPrefix, RedisUrl},
};

/// A Redis or Valkey that shares buckets with other instances.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redis {
    /// The URL may hold a password.
    pub(crate) url: RedisUrl,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    /// Time by which a bucket may be ahead of the clock of Redis.
    pub(crate) clock_tolerance: Duration,
    pub(crate) on_error: RedisFallback,
    /// Fraction of a capacity that may be out on lease; `None`: every request asks Redis.
    pub(crate) lease_fraction: Option<f64>,
    /// In a cluster, the buckets of a key are in one slot.
    pub(crate) hash_tags: bool,
}

impl Redis {
    /// `None`: buckets are in memory.
    pub(super) fn merge(flags: &Serve, file: &File) -> Result<Option<Redis>, String> {
        let mode = flags.redis_mode.or(file.redis_mode);
        let prefix = flags.redis_prefix.as_ref().or(file.redis_prefix.as_ref());
        let timeout = flags.redis_timeout.or(file.redis_timeout);
        let tolerance = flags.redis_clock_tolerance.or(file.redis_clock_tolerance);
        let on_error = flags.on_redis_error.or(file.on_redis_error);
        let share = flags.local_share.or(file.local_share);
        let fraction = flags.lease_fraction.or(file.lease_fraction);
        let given = [
            ("redis_mode", mode.is_some()),
            ("redis_prefix", prefix.is_some()),
            ("redis_timeout", timeout.is_some()),
            ("redis_clock_tolerance", tolerance.is_some()),
            ("on_redis_error", on_error.is_some()),
            ("local_share", share.is_some()),
            ("lease_fraction", fraction.is_some()),
        ];
        let Some(url) = flags.redis.as_ref().or(file.redis.as_ref()) else {
            let unused = given.iter().find(|(_, is_given)| *is_given);
            return unused.map_or(Ok(None), |(key, _)| {
                Err(format!("{key}: expected redis beside it, got none"))
            });
        };
        let (mode, on_error) = (mode.unwrap_or_default(), on_error.unwrap_or_default());
        if fraction.is_some() && mode != RedisMode::Lease {
            return Err(format!(
                "lease_fraction: expected redis_mode lease beside it, got {mode}"
            ));
        }
        if share.is_some() && on_error != OnRedisError::Local {
            return Err(format!(
                "local_share: expected on_redis_error local beside it, got {on_error}"
            ));
        }
        Ok(Some(Redis {
            url: url.clone(),
            prefix: prefix
                .cloned()
                .map_or_else(|| "tollgate".to_owned(), RedisPrefix::into_string),
            timeout: timeout.map_or(Duration::from_millis(50), |timeout| timeout.get()),
            clock_tolerance: tolerance.map_or(Duration::from_secs(1), |time| time.get()),
            on_error: match on_error {
                OnRedisError::Local => RedisFallback::Local {
                    share: share.map_or(1.0, |share| share.get()),
                },
                OnRedisError::Open => RedisFallback::Open,
                OnRedisError::Closed => RedisFallback::Closed,
            },
            lease_fraction: (mode == RedisMode::Lease)
                .then(|| fraction.map_or(0.1, |fraction| fraction.get())),
            hash_tags: false,
        }))
    }
}
