//! Making a limiter with other than the usual settings.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::{
    RedisFallback, RedisLimiter,
    client::Client,
    error::RedisError,
    fallback::Fallback,
    health::Health,
    leasing::{self, Last, Leasing},
    queue::Queues,
    settings::{Names, Settings},
    shared::{Background, Lives, Shared},
    target::Target,
    watch,
};
use crate::{
    clock::{Clock, ManualClock},
    quota::Quota,
};

/// Settings of a [`RedisLimiter`]; see [`RedisLimiter::builder`].
#[derive(Clone)]
#[must_use = "nothing is made before connect() is called"]
pub struct RedisLimiterBuilder {
    url: String,
    quota: Quota,
    timeout: Duration,
    on_error: RedisFallback,
    prefix: String,
    connections: usize,
    max_keys: usize,
    clock: Clock,
    lease: Option<f64>,
}

impl RedisLimiterBuilder {
    pub(super) fn new(url: &str, quota: Quota) -> RedisLimiterBuilder {
        RedisLimiterBuilder {
            url: url.to_owned(),
            quota,
            timeout: Duration::from_millis(50),
            on_error: RedisFallback::default(),
            prefix: "tollgate".to_owned(),
            connections: 2,
            max_keys: 100_000,
            clock: Clock::Process,
            lease: None,
        }
    }

    /// How long a request waits for Redis at most, once; 50 ms when not set. Then [`RedisFallback`]
    /// decides, for this request and all others until Redis is well again.
    pub fn timeout(self, timeout: Duration) -> Self {
        RedisLimiterBuilder { timeout, ..self }
    }

    /// What to do while Redis cannot be asked; when not set, every process goes on with buckets of
    /// its own and the whole quota.
    pub fn on_error(self, on_error: RedisFallback) -> Self {
        RedisLimiterBuilder { on_error, ..self }
    }

    /// What all keys in Redis begin with; `tollgate` when not set. Limiters with the same prefix
    /// share their settings and their buckets, and others share nothing: give each limit of a
    /// service a prefix of its own.
    pub fn prefix(self, prefix: &str) -> Self {
        RedisLimiterBuilder {
            prefix: prefix.to_owned(),
            ..self
        }
    }

    /// Lease mode: the process takes tokens for a key in batches and spends them from its own
    /// memory, hundreds of times as fast as it can ask. At most this fraction of a capacity, above
    /// 0 and up to 1, is out on lease, over all processes; a tenth is a good choice. Not set: exact
    /// mode, where Redis makes every decision. See [`RedisLimiter`] for when to use which.
    ///
    /// All limiters that share a prefix should be in the same mode: the two share the settings, and
    /// no buckets.
    pub fn lease(self, fraction: f64) -> Self {
        RedisLimiterBuilder {
            lease: Some(fraction),
            ..self
        }
    }

    /// How many connections there are; 2 when not set, and 1 at least. Requests take turns on them,
    /// and never wait for one another's answers.
    pub fn connections(self, connections: usize) -> Self {
        RedisLimiterBuilder {
            connections,
            ..self
        }
    }

    /// How many keys the process tells apart by itself while Redis cannot be asked; 100,000 when
    /// not set, of some 27 bytes each. In lease mode, as many may have tokens on lease, of some 500
    /// bytes each while they do; others are decided one by one.
    pub fn max_keys(self, max_keys: usize) -> Self {
        RedisLimiterBuilder { max_keys, ..self }
    }

    /// For tests: a clock that is moved by hand, in place of the server's. Its zero is the first of
    /// January 2025. Buckets do not expire then.
    pub fn clock(self, clock: ManualClock) -> Self {
        RedisLimiterBuilder {
            clock: Clock::Manual(clock),
            ..self
        }
    }

    /// The limiter, which goes on in the background of the tokio runtime that this is called in.
    ///
    /// A server that cannot be reached, or has no such database, is no error: the limiter begins
    /// with what [`RedisFallback`] says, logs why (through `tracing`), and
    /// [`RedisStats::up`](super::RedisStats::up) is `false`.
    ///
    /// # Errors
    /// When the URL cannot be read, the server denies access, the share of [`RedisFallback::Local`] or
    /// the fraction of a lease is not above 0 and at most 1, or there is no memory for so many
    /// keys.
    pub async fn connect(self) -> Result<RedisLimiter, RedisError> {
        let leasing = self.lease.map(|fraction| Leasing {
            fraction,
            timeout: self.timeout,
            max_keys: self.max_keys,
        });
        if let Some(fraction) = self
            .lease
            .filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0))
        {
            return Err(RedisError::Fraction(fraction));
        }
        let names = Names::new(self.prefix, leasing);
        let client = Client::new(Target::parse(&self.url)?, self.connections, self.timeout);
        let shared = Arc::new(Shared {
            client,
            health: Health::new(),
            fallback: Fallback::new(self.on_error, self.quota, self.max_keys, &self.clock)?,
            settings: ArcSwap::from_pointee(Settings::unknown(&names, self.quota)),
            queues: Queues::default(),
            names,
            clock: self.clock,
            lives: Lives::default(),
            adopting: Mutex::default(),
            background: Background::default(),
            runtime: Handle::current(),
        });
        match shared.come_back().await {
            Ok(()) => {}
            Err(error @ (RedisError::Url(_) | RedisError::Denied(_))) => return Err(error),
            Err(error) => tracing::warn!("beginning without Redis: {error}"),
        }
        let watching = tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        let listening = tokio::spawn(watch::listen(Arc::downgrade(&shared)));
        let ticking = tokio::spawn(leasing::tick(Arc::downgrade(&shared)));
        shared
            .background
            .begin([watching, listening, ticking].map(|task| task.abort_handle()));
        Ok(RedisLimiter {
            last: Arc::new(Last(Arc::clone(&shared))),
            shared,
        })
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiterBuilder")
            .field("quota", &self.quota)
            .field("timeout", &self.timeout)
            .field("on_error", &self.on_error)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("max_keys", &self.max_keys)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
