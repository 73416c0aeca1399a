//! Where buckets are shared, put together from the keys that say something of it.

use std::time::Duration;

use tollgate::RedisFallback;

use super::File;
use crate::{
    cli::Serve,
    values::{Fraction, OnRedisError, RedisMode, RedisUrl, Timeout, Typed},
};

/// A Redis or Valkey that other instances use as well.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redis {
    /// It may hold a password.
    pub(crate) url: RedisUrl,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) on_error: RedisFallback,
    /// The part of a capacity that may be out on lease; `None`: every request asks Redis.
    pub(crate) lease_fraction: Option<f64>,
}

/// `None`: in memory.
pub(super) fn of(flags: &Serve, file: &File) -> Result<Option<Redis>, String> {
    let mode = flags.redis_mode.or(plain(&file.redis_mode));
    let prefix = flags.redis_prefix.clone().or(plain(&file.redis_prefix));
    let timeout = flags.redis_timeout.or(plain(&file.redis_timeout));
    let on_error = flags.on_redis_error.or(plain(&file.on_redis_error));
    let share = flags.local_share.or(plain(&file.local_share));
    let fraction = flags.lease_fraction.or(plain(&file.lease_fraction));
    let given = [
        ("redis_mode", mode.is_some()),
        ("redis_prefix", prefix.is_some()),
        ("redis_timeout", timeout.is_some()),
        ("on_redis_error", on_error.is_some()),
        ("local_share", share.is_some()),
        ("lease_fraction", fraction.is_some()),
    ];
    let Some(url) = flags.redis.clone().or(plain(&file.redis)) else {
        let needless = given.iter().find(|(_, is_given)| *is_given);
        return needless.map_or(Ok(None), |(key, _)| {
            Err(format!(
                "{key}: expected with redis only, and there is none"
            ))
        });
    };
    if fraction.is_some() && mode != Some(RedisMode::Lease) {
        return Err("lease_fraction: expected with redis_mode lease only".to_owned());
    }
    if share.is_some() && on_error.is_some_and(|on_error| on_error != OnRedisError::Local) {
        return Err("local_share: expected with on_redis_error local only".to_owned());
    }
    Ok(Some(Redis {
        url,
        prefix: prefix.map_or_else(|| "tollgate".to_owned(), |prefix| prefix.0),
        timeout: timeout.map_or(Duration::from_millis(50), |Timeout(time)| time),
        on_error: match on_error.unwrap_or_default() {
            OnRedisError::Local => RedisFallback::Local {
                share: share.map_or(1.0, |Fraction(share)| share),
            },
            OnRedisError::Open => RedisFallback::Open,
            OnRedisError::Closed => RedisFallback::Closed,
        },
        lease_fraction: (mode == Some(RedisMode::Lease))
            .then(|| fraction.map_or(0.1, |Fraction(fraction)| fraction)),
    }))
}

fn plain<T: Clone>(value: &Option<Typed<T>>) -> Option<T> {
    value.as_ref().map(|Typed(value)| value.clone())
}
