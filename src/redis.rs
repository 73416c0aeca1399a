//! One limit across many processes: the buckets live in Redis or Valkey.
//!
//! **Exact.** A decision is one call of one Lua script on one key: the transitions of
//! [`state`](crate::state), in the server's own order and by the server's own clock, so that clocks
//! of different machines do not matter. The script computes in doubles; with
//! [`Layout::unpacked`](crate::state::Layout::unpacked) all numbers are integers that doubles hold
//! exactly, and a tick is computed in digits of 25 bits. So what it answers makes an ordinary
//! [`Decision`](crate::Decision), with the times and the refund rule of memory.
//!
//! **Small.** A bucket is 20 bytes, and gone when it is full. That forgets its stamp, so each
//! bucket has a *life*, a random number that a decision remembers: what was decided in an earlier
//! life, before the bucket was full, reset or lost, gives nothing back to a later one. It also
//! means that only a bucket that is not full resists a clock that steps back and forth again: a
//! full one is forgotten, and full is all that it can be.
//!
//! **Fast, if told so.** In lease mode a process takes tokens in batches and spends them from
//! memory: see `lease` for the protocol and its bound, and `leasing` for what drives it.
//!
//! **Never in the way.** A request waits for Redis once, for at most the timeout. Then the
//! [`breaker`] is open, everybody is answered from memory as [`RedisFallback`] says, and a probe in the
//! background finds out when Redis is well again.
//!
//! - `target`, `client`, `batch`, `script`, `error`: the only files that know the redis crate, with
//!   `shared` above them.
//! - `terms`: a quota as the scripts read it. `settings`, `learn`: what all instances share.
//!   `watch`: the background.
//! - `acquire`, `queue`: waiting.
//! - `lease`: the protocol, without I/O. `leasing`: its messages, its clock, and its decisions.
//! - `breaker`, `health`, `fallback`, `counters`: what happens when Redis is ill.

mod acquire;
mod batch;
mod breaker;
mod builder;
mod client;
mod counters;
mod decision;
mod error;
mod fallback;
mod health;
mod learn;
mod lease;
mod leasing;
mod queue;
mod script;
mod settings;
mod shared;
mod target;
mod terms;
#[cfg(test)]
mod tests;
mod watch;

use std::{fmt, sync::Arc};

pub use builder::RedisLimiterBuilder;
pub use decision::{DecisionSource, SharedDecision};
pub use error::RedisError;
pub use fallback::RedisFallback;
pub use health::RedisStats;
use leasing::Last;
use shared::Shared;

use crate::quota::Quota;

/// A bucket for every key, shared by all processes that use the same Redis or Valkey.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tollgate::{Quota, RedisLimiter};
///
/// let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(10)).await?;
/// let decision = limiter.try_acquire("alice", 1).await;
/// println!("{decision}"); // allowed: cost 1, 9 of 10 left
/// limiter.refund("alice", decision).await; // names what it undoes
/// limiter.replace(Quota::per_second(20)).await?; // for every process
/// # Ok(()) }
/// ```
///
/// A clone is the same limiter. It needs a tokio runtime, and lives on the one that it was
/// connected in.
///
/// # URLs
///
/// | server | URL |
/// | --- | --- |
/// | one | `redis://[user][:password@]host[:port][/database]`, or `unix:///path` |
/// | found by Sentinel | `redis+sentinel://[user][:password@]host[:port],host…/master[/database]` |
/// | a cluster | `redis+cluster://[user][:password@]host[:port],host…` |
///
/// `rediss` in place of `redis` is TLS, with the certificates that the machine trusts
/// (`SSL_CERT_FILE` names others). The user and the password of a Sentinel URL are those of the
/// master.
///
/// A user of the server who may do no more than this may do enough, for the prefix `tollgate`:
///
/// ```text
/// ACL SETUSER limiter on >password ~tollgate:* &tollgate:* +eval +evalsha +time +type +get +set +setrange +del +persist
///     +hget +hset +hdel +hgetall +publish +subscribe
/// ```
///
/// # Exact, or with leases
///
/// In **exact mode**, which is the usual one, Redis makes every decision: one round trip each, and
/// not a token too many. In **lease mode** ([`RedisLimiterBuilder::lease`]) a process takes tokens
/// of a key in batches and spends them from its own memory, hundreds of times as fast; the batch
/// follows the key's demand, and a refusal is remembered, so that an attack costs Redis at most ten
/// calls a second a key. Take exact mode where every request counts (logins, payments, small
/// quotas), and lease mode where a key is asked more often than Redis is to be.
///
/// | | exact mode | lease mode |
/// | --- | --- | --- |
/// | allowed in any time `t`, at most | `capacity + refill(t)` | `capacity + refill(t) + ⌊fraction × capacity⌋` |
/// | allowed since a bucket was fresh, at most | `capacity + refill(t)` | `capacity + refill(t)` |
/// | refused though tokens are there | never | while other processes hold them: at most `⌊fraction × capacity⌋`, and 2 s |
/// | a process that crashes loses | what it was asking for | what it holds: at most `⌊fraction × capacity⌋` a key |
/// | [`Decision::remaining`](crate::Decision::remaining) | is what is left | is what was in the bucket when the process last heard of it, without what has come back since, and what it holds |
/// | [`RedisLimiter::refund`] | gives back what is still owed | of what came from a lease: only while no message was sent since |
///
/// A quota so small that the fraction of its capacity is less than one token stays exact, and so do
/// single costs above it. Tokens that are not spent within 2 s go back, and so do all when the
/// limiter is closed or dropped; a shorter time would make more messages, and a longer one keep
/// tokens from others. All processes that share a prefix should be in the same mode: the two share
/// the settings, and their buckets are apart, so that each has a limit of its own.
///
/// # What is promised
///
/// In exact mode, over all processes, in any time at most the capacity and what came back in that
/// time, by the clock of the server, which may step back. The grain of time is a microsecond, or
/// what 52 bits for 34 years of refill leave room for: 256 ns at 10⁹ tokens a second. Time begins
/// on the first of January 2025 and stands still 2³⁰ s later, in January 2059: buckets do not
/// refill then.
///
/// What Redis forgets is full again: what it evicts (so let it have `maxmemory-policy noeviction`),
/// and what a restart or a failover loses. A decision on what was lost gives nothing back.
///
/// # When Redis is ill
///
/// A decision is never an error. [`SharedDecision::source`] says who made it, and [`RedisFallback`] who
/// does when Redis cannot. Each request waits for at most the timeout, and once one has, the others
/// do not, until Redis is well again. What was asked in vain may be charged in Redis all the same,
/// when a server that hung goes on: too much, and never too little.
///
/// What is on lease is spent first, as long as it lasts, and a refusal is remembered as long: for
/// at most 2 s.
///
/// # Shared settings
///
/// The quota and the rules stand in Redis, and a change reaches every process within a second,
/// mostly at once. **One prefix is one limit**: of the quotas that limiters with the same prefix
/// are made with, that of the last one counts, for all of them, until [`RedisLimiter::replace`] is
/// called anywhere; from then on that is the quota, whatever limiters are made with. So two limits,
/// such as one for all requests and one for logins, want two
/// [prefixes](RedisLimiterBuilder::prefix).
#[derive(Clone)]
pub struct RedisLimiter {
    shared: Arc<Shared>,
    /// Nobody reads it: it is here to be dropped.
    #[expect(dead_code, reason = "what it does, it does when it is dropped")]
    last: Arc<Last>,
}

impl RedisLimiter {
    /// A limiter with the usual settings, and the prefix `tollgate`; see
    /// [`RedisLimiterBuilder::connect`].
    ///
    /// # Errors
    /// When the URL cannot be read, or the server denies access. (One that cannot be reached may be
    /// later.)
    pub async fn connect(url: &str, quota: Quota) -> Result<RedisLimiter, RedisError> {
        RedisLimiter::builder(url, quota).connect().await
    }

    /// A limiter with other settings: how long to wait for Redis, and what to do when it is ill.
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
        RedisLimiterBuilder::new(url, quota)
    }

    /// Takes `cost` tokens from the key's bucket, or none.
    ///
    /// A cost of 0 takes nothing, is always allowed, and shows the state. A cost above the capacity
    /// is refused as [`Outcome::CostAboveCapacity`](crate::Outcome::CostAboveCapacity). A refusal
    /// writes nothing.
    #[must_use = "a decision says whether the request may go on"]
    pub async fn try_acquire(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> SharedDecision {
        let key = key.as_ref();
        match self.shared.decide_at_once(key, cost) {
            Some(decision) => decision,
            None => self.shared.decide(key, cost).await,
        }
    }

    /// The same, if the answer needs no waiting: tokens on lease are here, or a refusal is
    /// remembered, or Redis cannot be asked. `None`: nothing was taken; ask
    /// [`RedisLimiter::try_acquire`]. For callers who answer most requests without a task or a
    /// future of their own.
    #[inline]
    pub fn try_acquire_at_once(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> Option<SharedDecision> {
        self.shared.decide_at_once(key.as_ref(), cost)
    }

    /// Whole tokens in the key's bucket, and of those on lease the ones that this process holds.
    #[must_use]
    pub async fn available(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> u32 {
        self.try_acquire(key, 0).await.remaining()
    }

    /// Undoes a decision on this key, where it was made: gives its tokens back, as far as they are
    /// still owed, and says whether any were. See [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// One that came from a lease is undone only while its tokens can be put back unnoticed: until
    /// the process next sends a message about the key, or hears of it. Else it gives nothing back,
    /// since Redis was told that they were spent.
    ///
    /// A decision from before the bucket was full or reset, the quota was replaced, or the key got
    /// or lost a rule, gives nothing back; nor does one that Redis made while Redis cannot be
    /// asked.
    pub async fn refund(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        decision: SharedDecision,
    ) -> bool {
        let key = key.as_ref();
        match decision.source() {
            DecisionSource::Redis => {
                self.shared
                    .refund(self.shared.settings().owner(key), key, decision)
                    .await
            }
            DecisionSource::Local => self.shared.fallback.refund(key, decision.decision()),
            DecisionSource::Lease => self.shared.unspend(key, decision),
            DecisionSource::Open | DecisionSource::Closed => false,
        }
    }

    /// Makes the key's bucket full. What is on lease stays out besides, and another process may
    /// remember a refusal for 2 s longer.
    ///
    /// # Errors
    /// When Redis cannot be asked. The process's own bucket, for that time, is full all the same.
    pub async fn reset(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), RedisError> {
        let key = key.as_ref();
        self.shared.fallback.reset(key);
        self.shared
            .forget(self.shared.settings().owner(key), key)
            .await
    }

    /// Puts another quota in the place of the default, for everybody, in every process. Every
    /// bucket is full again, those of keys with rules too; the rules stay.
    ///
    /// # Errors
    /// When Redis cannot be asked: then nothing has changed, or, after [`RedisError::Timeout`],
    /// perhaps.
    pub async fn replace(&self, quota: Quota) -> Result<(), RedisError> {
        self.shared.replace(quota).await
    }

    /// The default quota, as far as this process has learned.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.shared.settings().default.limit.quota
    }

    /// Gives this key alone a quota of its own, and a full bucket, in every process. Meant for a
    /// few keys: every process knows all rules.
    ///
    /// # Errors
    /// As of [`RedisLimiter::replace`].
    pub async fn set_rule(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        quota: Quota,
    ) -> Result<(), RedisError> {
        self.shared.set_rule(key.as_ref(), quota).await
    }

    /// Takes the key's own quota back, and says whether it had one. Its bucket is then the one it
    /// had before.
    ///
    /// # Errors
    /// As of [`RedisLimiter::replace`].
    pub async fn remove_rule(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Result<bool, RedisError> {
        self.shared.remove_rule(key.as_ref()).await
    }

    /// The key's own quota, if it has one, as far as this process has learned.
    #[must_use]
    pub fn rule(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Option<Quota> {
        Some(self.shared.settings().rules.get(key.as_ref())?.limit.quota)
    }

    /// All keys that have a quota of their own, as far as this process has learned.
    #[must_use]
    pub fn rules(&self) -> Vec<(Vec<u8>, Quota)> {
        self.shared
            .settings()
            .rules
            .iter()
            .map(|(key, rule)| (key.clone(), rule.limit.quota))
            .collect()
    }

    /// Gives back all tokens that are on lease with this process, and waits until they have
    /// arrived, or the timeout has passed. From then on tokens are taken one by one. To be called
    /// before the process ends, so that nothing is lost; where the process goes on, dropping the
    /// last clone does the same in the background. In exact mode there is nothing to do.
    pub async fn close(&self) {
        self.shared.close().await;
    }

    /// Whether Redis is asked now, and what was counted so far.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.shared.health.stats()
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("quota", &self.quota())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
