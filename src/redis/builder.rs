//! Making a limiter with other than the usual settings.

use std::{
    fmt,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use super::{
    OnError, RedisLimiter,
    client::Client,
    error::RedisError,
    fallback::Fallback,
    health::Health,
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
    on_error: OnError,
    prefix: String,
    connections: usize,
    max_keys: usize,
    clock: Clock,
}

impl RedisLimiterBuilder {
    pub(super) fn new(url: &str, quota: Quota) -> RedisLimiterBuilder {
        RedisLimiterBuilder {
            url: url.to_owned(),
            quota,
            timeout: Duration::from_millis(50),
            on_error: OnError::default(),
            prefix: "tollgate".to_owned(),
            connections: 2,
            max_keys: 100_000,
            clock: Clock::Process,
        }
    }

    /// How long a request waits for Redis at most, once; 50 ms when not set. Then [`OnError`] decides, for this request and
    /// all others until Redis is well again.
    pub fn timeout(self, timeout: Duration) -> Self {
        RedisLimiterBuilder { timeout, ..self }
    }

    /// What to do while Redis cannot be asked; when not set, every process goes on with buckets of its own and the whole quota.
    pub fn on_error(self, on_error: OnError) -> Self {
        RedisLimiterBuilder { on_error, ..self }
    }

    /// What all keys in Redis begin with; `tollgate` when not set. Limiters with the same prefix share their settings and their
    /// buckets, and others share nothing.
    pub fn prefix(self, prefix: &str) -> Self {
        RedisLimiterBuilder { prefix: prefix.to_owned(), ..self }
    }

    /// How many connections there are; 2 when not set, and 1 at least. Requests take turns on them, and never wait for one
    /// another's answers.
    pub fn connections(self, connections: usize) -> Self {
        RedisLimiterBuilder { connections, ..self }
    }

    /// How many keys the process tells apart by itself while Redis cannot be asked; 100,000 when not set, of some 27 bytes each.
    pub fn max_keys(self, max_keys: usize) -> Self {
        RedisLimiterBuilder { max_keys, ..self }
    }

    /// For tests: a clock that is moved by hand, in place of the server's. Its zero is the first of January 2025.
    /// Buckets do not expire then.
    pub fn clock(self, clock: ManualClock) -> Self {
        RedisLimiterBuilder { clock: Clock::Manual(clock), ..self }
    }

    /// The limiter, which goes on in the background of the tokio runtime that this is called in.
    ///
    /// A server that cannot be reached is no error: the limiter begins with what [`OnError`] says.
    ///
    /// # Errors
    /// When the URL cannot be read, the server denies access, the share of [`OnError::Local`] is not above 0 and at most 1, or
    /// there is no memory for so many keys.
    pub async fn connect(self) -> Result<RedisLimiter, RedisError> {
        let client = Client::new(Target::parse(&self.url)?, self.connections, self.timeout);
        let shared = Arc::new(Shared {
            client,
            health: Health::new(),
            fallback: Fallback::new(self.on_error, self.quota, self.max_keys, &self.clock)?,
            settings: RwLock::new(Arc::new(Settings::unknown(&self.prefix, self.quota))),
            names: Names::new(self.prefix),
            clock: self.clock,
            lives: Lives::default(),
            adopting: Mutex::default(),
            background: Background::default(),
        });
        match shared.come_back().await {
            Ok(()) => {}
            Err(error @ (RedisError::Url(_) | RedisError::Denied(_))) => return Err(error),
            Err(error) => tracing::warn!("beginning without Redis: {error}"),
        }
        let watching = tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        let listening = tokio::spawn(watch::listen(Arc::downgrade(&shared)));
        shared.background.begin([watching.abort_handle(), listening.abort_handle()]);
        Ok(RedisLimiter { shared })
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
            .finish_non_exhaustive()
    }
}
