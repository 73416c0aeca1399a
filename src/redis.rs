//! Distributed limits: buckets in Redis or Valkey, shared by many processes.
//!
//! **Exact.** A decision is one call of one Lua script on one key. The script makes the transitions
//! of [`state`](crate::state), serialised by the server and on the server's clock, so clock skew
//! between machines does not matter. The script computes in doubles. With
//! [`Layout::unpacked`](crate::state::Layout::unpacked) all numbers are integers that doubles represent
//! exactly, and a tick is computed in digits of 25 bits. So a reply converts to an ordinary
//! [`Decision`](crate::Decision) with the times and the refund rule of memory.
//!
//! **Small.** A bucket is 20 bytes, and is deleted when it is full. The deletion loses its stamp,
//! so each bucket has an *incarnation*, a random number that a decision records. A decision of an
//! earlier incarnation, from before the bucket was full, reset, lost or rebased, refunds nothing to
//! a later one.
//!
//! **No lock-out.** A stamp that is far ahead of the server's clock is rebased to it, since the
//! clock has stepped back: see `clock.lua`.
//!
//! **Bounded load.** The calls in flight are bounded, in total and per key ([`call_limit`]), and a
//! refusal is remembered for a short time ([`refusal`]).
//!
//! **Fast on request.** In lease mode a process takes tokens in batches and spends them from
//! memory: see `lease` for the protocol and its bound, and `lease::driver` for its messages.
//!
//! **Bounded latency.** A call waits for its reply for at most the timeout. An error, or a check
//! that fails after a timeout, opens the [`breaker`]. Then all requests are decided from memory as
//! [`RedisFallback`] says, and a background probe detects the end of the outage. Time in the
//! process's own queue is no failure of Redis.
//!
//! Modules, each depending only on those above it:
//!
//! - `error`, `tls`, `topology`, `batch`, `script`, `reply_timeout`, `client`: the Redis client. Only these, and
//!   single calls in `store`, `settings_sync` and `subscription`, use the redis crate.
//! - `script_quota`: a quota as the scripts read it. `lease`: the lease protocol, without I/O.
//! - `slot`, `bucket_name`: slots of a cluster, and bounded names of buckets. `refusal`, `call_limit`: load of a key on Redis.
//! - `keyspace`, `settings`: names of keys, and the shared settings.
//! - `breaker`, `sharded_counter`, `health`, `fallback`: outages.
//! - `store`: bucket operations in Redis. `lease::driver`: decisions from leases.
//! - `line`: lines of waiting callers.
//! - `settings_sync`: synchronisation of the settings.
//! - `inner`: the state of a limiter; chooses between lease, Redis and fallback.
//! - `several`: several limits at once; `ask`, `compound_decision`: its requests and decisions.
//! - `wait`, `wait_for_several`: waiting for tokens.
//! - `probe`, `subscription`: background tasks.

mod ask;
mod batch;
mod breaker;
mod bucket_name;
mod call_limit;
mod client;
mod compound_decision;
mod error;
mod fallback;
mod health;
mod in_flight;
mod inner;
mod keyspace;
mod lease;
mod line;
mod probe;
mod refusal;
mod reply_timeout;
mod script;
mod script_quota;
mod settings;
mod settings_sync;
mod several;
mod sharded_counter;
mod slot;
mod store;
mod subscription;
#[cfg(test)]
mod tests;
mod tls;
mod topology;
mod wait;
mod wait_for_several;

use std::{fmt, future::Future, mem, sync::Arc, time::Duration};

pub use ask::RedisAsk;
use client::Client;
pub use compound_decision::RedisCompoundDecision;
pub use error::RedisError;
use fallback::Fallback;
pub use fallback::RedisFallback;
pub use health::RedisStats;
use inner::Inner;
use keyspace::{Keyspace, LeaseOptions};
pub use several::all_in_redis;
use store::Store;
use tokio::{task::JoinSet, time::Instant};
use topology::Topology;
pub use wait_for_several::all_in_redis_within_each;

#[cfg(feature = "tower")]
use crate::requested_pause::requested_pause;
use crate::{
    clock::Clock,
    decision::{Decision, DecisionView, RefundError, Refused},
    quota::Quota,
};

/// Token buckets by key, shared by all processes that use the same Redis or Valkey.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tollgate::{Quota, RedisLimiter};
///
/// let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(10)).await?;
/// let decision = limiter.try_acquire("alice", 1).await;
/// println!("{decision}"); // allowed: cost 1, 9 of 10 left
/// limiter.refund("alice", decision).await?; // undoes this decision
/// limiter.replace(Quota::per_second(20)).await?; // for every process
/// # Ok(()) }
/// ```
///
/// Clones share one limiter. It needs a tokio runtime, and its background tasks run on the runtime
/// in which it was connected.
///
/// # URLs
///
/// | topology | URL |
/// | --- | --- |
/// | single server | `redis://[user][:password@]host[:port][/database]`, or `unix:///path` |
/// | Sentinel | `redis+sentinel://[user][:password@]host[:port],host…/master[/database]` |
/// | cluster | `redis+cluster://[user][:password@]host[:port],host…` |
///
/// `valkey` may replace `redis` in every scheme. `rediss` (or `valkeys`) connects with TLS and
/// needs the feature `redis-tls`. It trusts the certificates of the operating system, or those in
/// `SSL_CERT_FILE`. It uses the default crypto provider of rustls, and installs *ring* as the
/// default if the application has installed none. The user and the password of a Sentinel URL are
/// those of the master.
///
/// A user of the server needs these permissions, here with the prefix `tollgate`. Without one of
/// them, except `+subscribe`, [`RedisLimiterBuilder::connect`] fails:
///
/// ```text
/// ACL SETUSER limiter on >password ~tollgate:* &tollgate:* +eval +evalsha +time +type +get +set +setrange +del +persist
///     +hget +hset +hdel +hgetall +publish +subscribe
/// ```
///
/// # Exact mode and lease mode
///
/// In **exact mode**, the default, Redis makes every decision: one round trip each, and the limit
/// is never exceeded. Only a refusal is remembered: for at most 100 ms, never past its
/// [`retry_after`](crate::DecisionView::retry_after), and for its cost and higher ones. So a flood for a
/// key without tokens costs Redis at most ten calls per second. A refund, a reset or a rule made by
/// this process ends it at once; one made by another process within 100 ms. In **lease mode** ([`RedisLimiterBuilder::lease`]) a process takes tokens of
/// a key in batches and spends them from its own memory, hundreds of times as fast. The batch size
/// follows the demand for the key. Exact mode suits limits where every request counts (logins, payments,
/// small quotas). Lease mode suits keys with more requests than Redis should serve.
///
/// | | exact mode | lease mode |
/// | --- | --- | --- |
/// | allowed in any time `t`, at most | `capacity + refill(t)` | `capacity + refill(t) + ⌊fraction × capacity⌋` |
/// | allowed since a bucket was new, at most | `capacity + refill(t)` | `capacity + refill(t)` |
/// | refused although tokens are available | for at most 100 ms after a refund or reset by another process | while other processes hold them: at most `⌊fraction × capacity⌋`, for at most 2 s |
/// | lost in a crash of a process | the requests in flight | the tokens on lease: at most `⌊fraction × capacity⌋` per key |
/// | [`remaining`](crate::DecisionView::remaining) | the tokens in the bucket | the tokens in the bucket at the last reply, without the refill since, plus those that the process holds |
/// | [`RedisLimiter::refund`] | gives back the tokens still owed | for decisions from a lease: only until the next message about the key |
///
/// A quota is exact in lease mode too if the fraction of its capacity is less than one token, and
/// so is a single cost above that fraction. Tokens that are not spent within 2 s are returned, and
/// all tokens are returned when the limiter is closed or dropped. A shorter time would make more
/// messages; a longer one would withhold tokens from other processes. All processes that share a
/// prefix should use the same mode: both modes share the settings but not the buckets, so each mode
/// would have a limit of its own.
///
/// # Guarantees
///
/// In exact mode, all processes together are allowed at most the capacity plus the refill in any
/// period, on the server's clock. If that clock steps back, at most one extra capacity is allowed
/// per key and step, and no key is locked out: see [`RedisLimiterBuilder::clock_tolerance`]. The
/// resolution of time is a microsecond, or
/// what 52 bits leave for 34 years of refill: 256 ns at 10⁹ tokens per second. Time starts on 1
/// January 2025 and stops 2³⁰ s later, in January 2059: buckets do not refill after that.
///
/// A bucket that Redis loses is full again: by eviction (so set `maxmemory-policy noeviction`), a
/// restart or a failover. A decision on a lost bucket refunds nothing.
///
/// # Outages
///
/// A decision never fails with an error. [`DecisionView::source`](crate::DecisionView::source) names
/// its source, and [`RedisFallback`] is the policy while Redis is unavailable. A call waits for its
/// reply for at most the timeout; then the fallback decides that request. One timeout is no outage:
/// a check follows, and if it fails as well, no request waits until Redis is available again. An
/// error is an outage at once. A request that timed out may still be charged in Redis when a hung
/// server resumes: too many tokens, never
/// too few.
///
/// At most 256 calls of a limiter are in flight, and at most 64 of one key. Further calls wait in a
/// queue of the process, which is no failure of Redis. A call for which other keys leave no room
/// within the timeout is decided by the fallback.
///
/// Tokens on lease are spent first, as long as their lease lasts, and a refusal is remembered as
/// long: for at most 2 s.
///
/// # Keys
///
/// A key of up to 64 bytes is part of its bucket's name in Redis. A longer key, or one with a brace,
/// is replaced by its SHA-256 hash, so that clients can neither fill the server's memory nor choose
/// the slot of their bucket in a cluster.
///
/// # Shared settings
///
/// The quota and the rules are stored in Redis. A change reaches every process within a second, and
/// usually at once. **One prefix is one limit**: if limiters with the same prefix are made with
/// different quotas, the quota of the last one applies to all of them, until a process calls
/// [`RedisLimiter::replace`]. From then on that quota applies, whatever quota limiters are made
/// with. So two limits, such as one for all requests and one for logins, need two
/// [prefixes](RedisLimiterBuilder::prefix).
#[derive(Clone)]
pub struct RedisLimiter {
    inner: Arc<Inner>,
    #[expect(dead_code, reason = "a drop guard")]
    guard: Arc<CloseOnDrop>,
}

/// Drop guard of all clones of a limiter: stops the background tasks, in lease mode after all
/// leases were returned.
struct CloseOnDrop {
    inner: Arc<Inner>,
    tasks: JoinSet<()>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if self.inner.store.keyspace.lease.is_some() {
            let (inner, tasks) = (Arc::clone(&self.inner), mem::take(&mut self.tasks));
            self.inner.store.runtime.spawn(async move {
                inner.close().await;
                drop(tasks);
            });
        }
    }
}

impl RedisLimiter {
    /// Makes a limiter with default options and the prefix `tollgate`; see
    /// [`RedisLimiterBuilder::connect`].
    ///
    /// # Errors
    /// When the URL is invalid, the server denies access or lacks the database, or the user lacks a
    /// permission. An unreachable server is no error: the limiter connects later.
    pub async fn connect(url: &str, quota: Quota) -> Result<RedisLimiter, RedisError> {
        RedisLimiter::builder(url, quota).connect().await
    }

    /// Returns a builder with further options, such as the timeout and the fallback.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tollgate::RedisError> {
    /// use {std::time::Duration, tollgate::{RedisFallback, Quota, RedisLimiter}};
    ///
    /// let limiter = RedisLimiter::builder("rediss://:secret@redis.example/0", Quota::per_second(100))
    ///     .timeout(Duration::from_millis(20))
    ///     .on_error(RedisFallback::Local { share: 0.25 }) // four processes
    ///     .connect()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn builder(url: &str, quota: Quota) -> RedisLimiterBuilder {
        RedisLimiterBuilder {
            url: url.to_owned(),
            quota,
            timeout: Duration::from_millis(50),
            on_error: RedisFallback::default(),
            prefix: "tollgate".to_owned(),
            connections: 2,
            max_keys: 100_000,
            clock: Clock::process(),
            clock_tolerance: Duration::from_secs(1),
            lease: None,
            hash_tags: false,
        }
    }

    /// Checks a URL without connecting, for the validation of configuration files.
    ///
    /// ```
    /// use tollgate::RedisLimiter;
    ///
    /// assert!(RedisLimiter::check_url("valkey://127.0.0.1:6379/0").is_ok());
    /// assert!(RedisLimiter::check_url("http://127.0.0.1/").is_err());
    /// ```
    ///
    /// # Errors
    /// [`RedisError::Url`] when the URL is invalid, or requires TLS and the feature `redis-tls` is
    /// off. The error shows no part of the URL but its scheme.
    pub fn check_url(url: &str) -> Result<(), RedisError> {
        Topology::parse(url).map(drop)
    }

    /// Takes `cost` tokens from the key's bucket, or none.
    ///
    /// A cost of 0 takes nothing, is always allowed, and returns the state. A cost above the
    /// capacity is refused as [`Outcome::CostAboveCapacity`](crate::Outcome::CostAboveCapacity). A
    /// refusal writes nothing.
    #[must_use = "a decision says whether the request may proceed"]
    pub async fn try_acquire(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.inner.try_acquire(key.as_ref(), cost).await
    }

    /// Like [`RedisLimiter::try_acquire`], if no wait is needed: tokens are on lease, a refusal is
    /// remembered, or Redis is unavailable. `None`: nothing was taken; call
    /// [`RedisLimiter::try_acquire`]. For callers that decide most requests without a task or a
    /// future.
    #[inline]
    pub fn try_acquire_at_once(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> Option<Decision> {
        self.inner.try_acquire_now(key.as_ref(), cost)
    }

    /// Takes `cost` tokens from the key's bucket, and waits until they are available.
    ///
    /// Waiters are served in FIFO order within a process, and unordered between processes: the
    /// first request after the tokens arrive gets them. So a large cost may wait for as long as
    /// other processes take single tokens. While Redis is unavailable, [`RedisFallback`] decides.
    /// With [`RedisFallback::Closed`], and for a cost above the local share, the wait lasts until
    /// Redis is available again. A cost of 0 never waits.
    ///
    /// Waiters follow a reset by this process and changes of the settings at once, and a reset by
    /// another process within a second. They wait on at most as many keys at once as
    /// [`RedisLimiterBuilder::max_keys`] says.
    ///
    /// A dropped future takes nothing, unless a request to Redis is in flight at that moment. A
    /// future that is neither polled nor dropped blocks later waiters of its process for the same
    /// key.
    ///
    /// # Errors
    /// When `cost` is above the capacity, now or after a change of the quota (not with
    /// [`RedisFallback::Open`] while Redis is unavailable), or when callers wait on too many keys
    /// ([`Outcome::QueueFull`](crate::Outcome::QueueFull)).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tollgate::{Quota, RedisLimiter};
    /// let calls = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(5)).await?;
    /// calls.acquire("api.example", 1).await?; // five per second, over all processes
    /// # Ok(()) }
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + 'a {
        wait::acquire(&self.inner, key.as_ref(), cost, None)
    }

    /// Like [`RedisLimiter::acquire`], with a deadline. A request to Redis in flight at the
    /// deadline is awaited for up to the limiter's timeout.
    ///
    /// # Errors
    /// Additionally when the tokens are not available before the deadline:
    /// [`Outcome::DeadlineTooSoon`](crate::Outcome::DeadlineTooSoon). At once when the tokens queued
    /// ahead in this process show it, which is an estimate, and else at the deadline. The state in
    /// the error does not account for the waiters ahead. It is
    /// [`Outcome::Unavailable`](crate::Outcome::Unavailable) when Redis is unavailable until the
    /// deadline and the fallback is [`RedisFallback::Closed`].
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + 'a {
        wait::acquire(&self.inner, key.as_ref(), cost, Some(deadline))
    }

    /// Like [`RedisLimiter::acquire_by`], with the longest wait, which begins with this call.
    ///
    /// # Errors
    /// As for [`RedisLimiter::acquire_by`].
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_within<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
        max_wait: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + 'a {
        // `None`: centuries ahead.
        let deadline = Instant::now().checked_add(max_wait);
        wait::acquire(&self.inner, key.as_ref(), cost, deadline)
    }

    /// Like [`RedisLimiter::acquire`], followed by a random wait of at most `max_jitter`; see
    /// [`Bucket::acquire_with_jitter`](crate::Bucket::acquire_with_jitter). A future that is dropped
    /// during that wait refunds its charge in the background.
    ///
    /// # Errors
    /// As for [`RedisLimiter::acquire`].
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_with_jitter<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
        max_jitter: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + 'a {
        wait::acquire_with_jitter(&self.inner, key.as_ref(), cost, max_jitter)
    }

    /// Takes any number of tokens from the key's bucket, in pieces of at most the capacity, and lets
    /// no other waiter of this process in between. When the future is dropped, the pieces already
    /// taken stay spent. Other processes may take tokens between two pieces, and delay each of
    /// them as they delay [`RedisLimiter::acquire`] of a large cost.
    ///
    /// # Errors
    /// When callers wait on too many keys ([`Outcome::QueueFull`](crate::Outcome::QueueFull)).
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_all<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        amount: u64,
    ) -> impl Future<Output = Result<(), Refused>> + Send + 'a {
        wait::acquire_all(&self.inner, key.as_ref(), amount)
    }

    /// Like [`RedisLimiter::acquire`], in a future that owns the limiter and the key: for spawned
    /// tasks.
    ///
    /// # Errors
    /// As for [`RedisLimiter::acquire`].
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_owned<K: AsRef<[u8]> + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<K> {
        let (limiter, key) = (self.clone(), key.as_ref().to_vec());
        async move { limiter.acquire(&key, cost).await }
    }

    /// Like [`RedisLimiter::acquire`], and blocks this thread. Threads and tasks wait in one line.
    ///
    /// # Errors
    /// As for [`RedisLimiter::acquire`].
    ///
    /// # Panics
    /// In asynchronous code, which it would block. Use `spawn_blocking` there.
    pub fn acquire_blocking(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> Result<Decision, Refused> {
        let runtime = &self.inner.store.runtime;
        runtime.block_on(self.acquire(key, cost))
    }

    /// Returns true when callers of this process wait for tokens of the key; see
    /// [`KeyedLimiter::has_waiters`](crate::KeyedLimiter::has_waiters).
    #[must_use]
    pub fn has_waiters(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        !self.inner.lines.is_empty(key.as_ref())
    }

    /// Returns the number of whole tokens in the key's bucket, plus those that this process holds
    /// on lease.
    #[must_use]
    pub async fn available(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> u32 {
        self.try_acquire(key, 0).await.remaining()
    }

    /// Returns what [`RedisLimiter::try_acquire`] would decide, and takes nothing. While Redis is
    /// unavailable, the fallback answers.
    ///
    /// With leases, a charge that this process cannot pay from its own tokens may still be refused:
    /// other processes hold some of those that the view shows.
    #[doc(alias = "peek")]
    #[must_use]
    pub async fn look(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> DecisionView {
        self.try_acquire(key, 0).await.view().asked_for(cost)
    }

    /// Asks for `cost` tokens of a key, as one of several limits: see [`all_in_redis`].
    pub fn ask<'a>(&'a self, key: &'a (impl AsRef<[u8]> + ?Sized), cost: u32) -> RedisAsk<'a> {
        RedisAsk::new(&self.inner, key.as_ref(), cost)
    }

    /// Undoes a decision on this key, where it was made: gives back its tokens as far as they are
    /// still owed. Returns whether any were given back. See
    /// [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// A decision from a lease can be undone only until the process sends or receives the next
    /// message about the key. After that it gives nothing back: Redis has recorded the tokens as
    /// spent.
    ///
    /// A decision from before the bucket was full or reset, the quota was replaced, or the key's
    /// rule was set or removed, gives nothing back. Neither does a decision of Redis while Redis is
    /// unavailable.
    ///
    /// # Errors
    /// When the decision was made on another key or by another limiter: then nothing is given back,
    /// and the error holds the decision.
    pub async fn refund(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        decision: Decision,
    ) -> Result<bool, RefundError> {
        self.inner.refund(key.as_ref(), decision).await
    }

    /// Makes the key's bucket full. Tokens on lease stay on lease in addition, and another process
    /// may remember a refusal for up to 2 s.
    ///
    /// # Errors
    /// When Redis is unavailable. The local bucket of the fallback is full nevertheless.
    pub async fn reset(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), RedisError> {
        self.inner.reset(key.as_ref()).await
    }

    /// Grants nothing on this key for `time`, in every process, waiters in
    /// [`RedisLimiter::acquire`] included. Its bucket is empty at the end, and refills from there.
    /// A later end of an earlier pause stays. [`RedisLimiter::reset`] ends the pause, and so does a
    /// change of the quota or of the key's rule, which fills the bucket.
    ///
    /// The pause is measured by the server's clock, and a step back of that clock lengthens it.
    /// Decisions from before the pause give nothing back. In lease mode this process gives up its
    /// tokens at once, and other processes may spend theirs for at most 2 s. While Redis is
    /// unavailable, only a local bucket of this process is paused.
    ///
    /// # Errors
    /// When Redis is unavailable: then the key is paused for [`RedisFallback::Local`] of this process
    /// at most. [`RedisError::Pauses`] when 4096 local buckets are paused already: then the key is
    /// paused in Redis alone.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tollgate::RedisError> {
    /// # use {std::time::Duration, tollgate::{Quota, RedisLimiter}};
    /// let calls = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(5)).await?;
    /// // The remote said 429, and to come back in a minute.
    /// calls.pause_for("api.example", Duration::from_secs(60)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn pause_for(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        time: Duration,
    ) -> Result<(), RedisError> {
        self.inner.pause(key.as_ref(), time).await
    }

    /// Grants nothing on this key before `instant`; see [`RedisLimiter::pause_for`].
    ///
    /// # Errors
    /// As for [`RedisLimiter::pause_for`].
    pub async fn pause_until(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        instant: Instant,
    ) -> Result<(), RedisError> {
        self.pause_for(key, instant.saturating_duration_since(Instant::now()))
            .await
    }

    /// Pauses the key as a response asks for; see
    /// [`Bucket::pause_from_headers`](crate::Bucket::pause_from_headers). Returns the length of the
    /// pause, or `None` when the response asks for none.
    ///
    /// # Errors
    /// As for [`RedisLimiter::pause_for`].
    #[cfg(feature = "tower")]
    pub async fn pause_from_headers(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        headers: &http::HeaderMap,
    ) -> Result<Option<Duration>, RedisError> {
        let Some(pause) = requested_pause(headers) else {
            return Ok(None);
        };
        self.pause_for(key, pause).await?;
        Ok(Some(pause))
    }

    /// Replaces the default quota, for all keys without a rule and in every process. Every bucket
    /// is full afterwards, also those of keys with rules. The rules stay.
    ///
    /// The quota in force changes no bucket: each keeps what was spent, so that settings can be
    /// reapplied at any time. [`RedisLimiter::replace_and_reset`] fills the buckets then too.
    ///
    /// # Errors
    /// When Redis is unavailable: then nothing has changed, except that after
    /// [`RedisError::Timeout`] the change may have been made.
    pub async fn replace(&self, quota: Quota) -> Result<(), RedisError> {
        self.inner.settings.replace(quota).await
    }

    /// Replaces the default quota as [`RedisLimiter::replace`] does, and fills every bucket, those
    /// of keys with rules too, whether or not the quota is the one in force.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tollgate::RedisError> {
    /// # use tollgate::{Quota, RedisLimiter};
    /// let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(5)).await?;
    /// limiter.replace_and_reset(limiter.quota()).await?; // a fresh start for all clients
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as for [`RedisLimiter::replace`].
    pub async fn replace_and_reset(&self, quota: Quota) -> Result<(), RedisError> {
        self.inner.settings.replace_and_reset(quota).await
    }

    /// Returns the default quota, as far as this process has learned.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.inner.settings.load().default.limit.quota
    }

    /// Gives one key a quota of its own and a full bucket, in every process. A rule in force changes
    /// nothing: its bucket keeps what was spent. Meant for a few keys: every process holds all rules
    /// in memory.
    ///
    /// # Errors
    /// The same as for [`RedisLimiter::replace`].
    pub async fn set_rule(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        quota: Quota,
    ) -> Result<(), RedisError> {
        self.inner.settings.set_rule(key.as_ref(), quota).await
    }

    /// Removes the key's own quota. Returns whether the key had one. The key then has its previous
    /// bucket again.
    ///
    /// # Errors
    /// The same as for [`RedisLimiter::replace`].
    pub async fn remove_rule(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Result<bool, RedisError> {
        self.inner.settings.remove_rule(key.as_ref()).await
    }

    /// Returns the key's own quota, if it has one, as far as this process has learned.
    #[must_use]
    pub fn rule(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Option<Quota> {
        let settings = self.inner.settings.load();
        Some(settings.rules.get(key.as_ref())?.limit.quota)
    }

    /// Returns all keys with a quota of their own, as far as this process has learned.
    #[must_use]
    pub fn rules(&self) -> Vec<(Vec<u8>, Quota)> {
        let settings = self.inner.settings.load();
        let rules = settings.rules.iter();
        rules
            .map(|(key, rule)| (key.clone(), rule.limit.quota))
            .collect()
    }

    /// Returns all tokens that this process holds on lease, and waits until they have arrived in
    /// Redis or the timeout has passed. From then on, tokens are taken one by one. Call it before
    /// the process ends, so that no tokens are lost. If the process continues, dropping the last
    /// clone does the same in the background. In exact mode it does nothing.
    pub async fn close(&self) {
        self.inner.close().await;
    }

    /// Returns the availability of Redis and the counters.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.inner.stats()
    }
}

/// Omits the URL, which may contain a password.
impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("quota", &self.quota())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Options of a [`RedisLimiter`]; see [`RedisLimiter::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until connect() is called"]
pub struct RedisLimiterBuilder {
    url: String,
    quota: Quota,
    timeout: Duration,
    on_error: RedisFallback,
    prefix: String,
    connections: usize,
    max_keys: usize,
    clock: Clock,
    clock_tolerance: Duration,
    lease: Option<f64>,
    hash_tags: bool,
}

impl RedisLimiterBuilder {
    /// Sets the maximum time that a call waits for the reply of Redis. Default: 50 ms. After a
    /// timeout [`RedisFallback`] decides, and if a check times out as well, it decides all requests
    /// until Redis is available again.
    pub fn timeout(self, timeout: Duration) -> Self {
        RedisLimiterBuilder { timeout, ..self }
    }

    /// Sets the policy while Redis is unavailable. Default: every process decides with local
    /// buckets and the whole quota.
    pub fn on_error(self, on_error: RedisFallback) -> Self {
        RedisLimiterBuilder { on_error, ..self }
    }

    /// Sets the prefix of all keys in Redis. Default: `tollgate`. Limiters with the same prefix
    /// share their settings and their buckets; limiters with different prefixes share nothing.
    /// Every limit of a service needs a prefix of its own.
    pub fn prefix(self, prefix: &str) -> Self {
        RedisLimiterBuilder {
            prefix: prefix.to_owned(),
            ..self
        }
    }

    /// Makes each key the hash tag of its bucket's name, in braces. In a cluster, all buckets of a key
    /// are in one slot then, and [`all_in_redis`] takes from them with one script. Without it, a key's
    /// buckets of several limiters are spread over the servers.
    ///
    /// All limiters that share a prefix should agree: with hash tags a bucket has another name.
    pub fn hash_tags(self) -> Self {
        RedisLimiterBuilder {
            hash_tags: true,
            ..self
        }
    }

    /// Enables lease mode: the process takes tokens of a key in batches and spends them from its
    /// own memory, hundreds of times as fast as through Redis. `fraction` is the maximum fraction
    /// of a capacity on lease, over all processes: above 0 and at most 1. A tenth is a good choice.
    /// Default: exact mode, where Redis makes every decision. [`RedisLimiter`] compares the modes.
    ///
    /// All limiters that share a prefix should use the same mode: the modes share the settings, but
    /// no buckets.
    pub fn lease(self, fraction: f64) -> Self {
        RedisLimiterBuilder {
            lease: Some(fraction),
            ..self
        }
    }

    /// Sets the number of connections. Default: 2; at least 1. Requests use them in round-robin
    /// order and never wait for one another's replies.
    pub fn connections(self, connections: usize) -> Self {
        RedisLimiterBuilder {
            connections,
            ..self
        }
    }

    /// Sets the number of keys that the process distinguishes on its own while Redis is
    /// unavailable. Default: 100,000, of some 27 bytes each. In lease mode, the same number of keys
    /// may have tokens on lease, of some 500 bytes each while they do; the tokens of further keys
    /// are taken one by one. Callers may wait on the same number of keys at once.
    pub fn max_keys(self, max_keys: usize) -> Self {
        RedisLimiterBuilder { max_keys, ..self }
    }

    /// Sets the time by which a bucket may be ahead of the server's clock. Default: 1 s.
    ///
    /// A server's clock may step back, for example when it is corrected or after a failover. A
    /// bucket that is at most this far ahead decides as of its own time, and does not refill until
    /// the clock has caught up. A bucket that is further ahead is rebased to the clock: what was
    /// spent stays spent, and earlier decisions refund nothing.
    /// A step back allows at most one extra capacity per key: the refill of the time that the clock
    /// counts twice. [`RedisStats::rebased`] counts such buckets.
    pub fn clock_tolerance(self, clock_tolerance: Duration) -> Self {
        RedisLimiterBuilder {
            clock_tolerance,
            ..self
        }
    }

    /// Sets the clock of leases and of the local buckets of the fallback, in place of
    /// [`Clock::process`]. Decisions of Redis are made on the server's clock.
    ///
    /// A [`ManualClock`](crate::ManualClock), for tests, replaces the server's clock as well. Its
    /// zero is 1 January 2025. Buckets do not expire with a manual clock.
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        RedisLimiterBuilder {
            clock: clock.into(),
            ..self
        }
    }

    /// Connects, and starts the background tasks on the current tokio runtime.
    ///
    /// A server that is unreachable is no error: the limiter starts with [`RedisFallback`], logs the
    /// reason through `tracing`, and [`RedisStats::up`] is `false`.
    ///
    /// # Errors
    /// When the URL is invalid, the server denies access or lacks the database, the user lacks a
    /// permission of the scripts, the share of [`RedisFallback::Local`] or
    /// the fraction of lease mode is not above 0 and at most 1, or the table of local keys cannot
    /// be built.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<RedisLimiter, RedisError> {
        if let Some(fraction) = self
            .lease
            .filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0))
        {
            return Err(RedisError::Fraction(fraction));
        }
        let lease = self.lease.map(|fraction| LeaseOptions {
            fraction,
            timeout: self.timeout,
            max_keys: self.max_keys,
        });
        let topology = Topology::parse(&self.url)?;
        let fallback = Fallback::new(self.on_error, self.quota, self.max_keys, &self.clock)?;
        let client = Client::new(topology, self.connections, self.timeout);
        let keyspace = Keyspace::new(self.prefix, self.clock_tolerance, lease, self.hash_tags);
        let store = Store::new(client, keyspace, self.clock);
        let inner = Arc::new(Inner::new(store, fallback, self.quota, self.max_keys));
        match inner.recover().await {
            Ok(()) => {}
            Err(
                error @ (RedisError::Url(_) | RedisError::Denied(_) | RedisError::NoDatabase(_)),
            ) => return Err(error),
            Err(error) => tracing::warn!(%error, "Redis unavailable at start; fallback decides"),
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(probe::run(Arc::clone(&inner)));
        tasks.spawn(subscription::run(Arc::clone(&inner)));
        tasks.spawn(Arc::clone(&inner).maintain_leases());
        let guard = Arc::new(CloseOnDrop {
            inner: Arc::clone(&inner),
            tasks,
        });
        Ok(RedisLimiter { inner, guard })
    }
}

/// Omits the URL, which may contain a password.
impl fmt::Debug for RedisLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiterBuilder")
            .field("quota", &self.quota)
            .field("timeout", &self.timeout)
            .field("on_error", &self.on_error)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("max_keys", &self.max_keys)
            .field("clock_tolerance", &self.clock_tolerance)
            .field("lease", &self.lease)
            .field("hash_tags", &self.hash_tags)
            .finish_non_exhaustive()
    }
}
