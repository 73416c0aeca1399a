//! Rate limiter for many keys, with memory that is fixed when the limiter is built.

mod counters;
mod current;
mod error;
mod generation;
mod hash;
mod invalidation;
mod key_bucket;
mod key_ref;
mod latch;
mod memory;
mod patience;
mod replacement;
mod rule;
mod scan;
mod sections;
mod sets;
#[cfg(feature = "shared")]
mod shared;
#[cfg(feature = "shared")]
mod shared_rule;
mod stats;
mod table;
mod tag;
#[cfg(feature = "tokio")]
mod waiter;

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    marker::PhantomData,
    time::Duration,
};
#[cfg(feature = "shared")]
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use counters::Counter;
use current::CurrentGeneration;
pub(crate) use current::HeldGenerations;
pub use error::{BuildError, TooManyPauses};
use generation::Generation;
pub use hash::{DefaultHashBuilder, DefaultHasher};
pub(crate) use key_ref::{HeldKey, HeldPlace, KeyRef, KeySlot};
use patience::Patience;
use replacement::{ChangeError, OutOfMemory, new_table};
use rule::{MAX_PAUSES, Rule, Rules, refilled, unexpired};
#[cfg(feature = "shared")]
pub use shared::OpenError;
#[cfg(feature = "shared")]
use shared::{Change, Opened, Shared, Wanted};
pub use stats::KeyedStats;
use table::Table;
pub use table::WhenFull;
#[cfg(feature = "tokio")]
use tokio::time::Instant;

#[cfg(feature = "tower")]
use crate::requested_pause::requested_pause;
use crate::{
    clock::{Clock, Time},
    decision::{Decision, DecisionView, RefundError},
    duration::saturating_nanos,
    origin,
    quota::Quota,
    sync::Arc,
};
#[cfg(feature = "tokio")]
use crate::{
    decision::Refused,
    wait::{self, Lines, ThreadTimer, TokioTimer},
};

/// Number of tries to see the current rules of a table that is opened.
#[cfg(feature = "shared")]
const OPEN_TRIES: usize = 10;

/// Number of keys of a batch that are prefetched together.
const BATCH: usize = 16;

/// Rate limiter with a bucket per key: a client's address, an API key, a user's number.
///
/// ```
/// use std::{net::IpAddr, time::Duration};
/// use tollgate::{KeyedLimiter, Quota};
///
/// // A million keys in 27 MB, never more.
/// let limiter = KeyedLimiter::new(Quota::per_minute(100), 1_000_000);
/// let client: IpAddr = "192.0.2.7".parse()?;
///
/// let decision = limiter.try_acquire(&client, 3);
/// println!("{decision}"); // allowed: cost 3, 97 of 100 left
/// let decision = decision.ok()?; // or as a Result, with an error that carries retry_after()
/// limiter.refund(&client, decision)?; // undoes this decision
/// limiter.replace(Quota::per_minute(50)); // from the next call on
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Keys
///
/// A limiter has one type of keys, `K`, which the compiler infers from the first use. A key of
/// another type does not compile, so that a rule for `"5"` cannot miss the client `5_u64`:
///
/// ```compile_fail,E0308
/// # use tollgate::{KeyedLimiter, Quota};
/// let limiter = KeyedLimiter::new(Quota::per_minute(100), 1000);
/// limiter.try_acquire(&5_u64, 1).ok()?;
/// limiter.set_rule("5", Quota::per_minute(200)); // expected `&u64`, found `&str`
/// # Ok::<(), tollgate::Refused>(())
/// ```
///
/// A field or a `static` names the type: `KeyedLimiter<IpAddr>`, `KeyedLimiter<str>`. A key may
/// borrow: a `KeyedLimiter<(&'static str, u32)>` takes tuples of any lifetime.
///
/// # Memory and eviction
///
/// Keys are hashed, not stored: any `K: Hash + ?Sized` is a key, and nothing is cloned or
/// allocated. A bucket that has refilled equals a new one, so another key may take its slot without
/// losing state: there is no sweeper and no time to live. Memory never grows, so a flood of keys
/// cannot exhaust it. A table built for `max_keys` has room for that many keys that are not full at
/// the same time, except for one key in a million. [`WhenFull`] is the policy for a key that finds
/// no free slot, and [`KeyedStats`] counts such keys.
///
/// # Collisions
///
/// A key is identified by its place in the table and by 47 bits of a hash with a random seed. Two
/// keys with the same bits in the same place share a bucket: they limit each other, as if they were
/// one client. The probability that *any* two of ten million keys do so is at most some 3 in a
/// million; of one million keys, 1 in ten million. The seed differs in every limiter and every run, so an attacker cannot prepare such a
/// pair.
///
/// # Threads
///
/// Decisions on known keys take no lock, allocate nothing, and never wait. A new key takes a latch
/// for some tens of nanoseconds. The first call of a thread, and its first call after a change of
/// the quota or the rules, fetches the settings under a lock.
#[doc(alias = "RateLimiter")]
pub struct KeyedLimiter<K: ?Sized, S = DefaultHashBuilder> {
    current: CurrentGeneration,
    clock: Clock,
    hasher: S,
    /// Number of the hash function with its seed: limiters with the same one hash a key alike.
    hashing: u32,
    /// Number of the limiter, spread over 64 bits. With a key's hash it identifies the key's bucket
    /// in decisions.
    number: u64,
    /// Lines of the keys on which callers wait.
    #[cfg(feature = "tokio")]
    lines: Lines<u64>,
    keys: KeyType<K>,
}

/// Type of the keys, none of which is stored: `Send` and `Sync` whatever the type, and covariant,
/// so that borrowed keys of any lifetime are keys of one limiter.
type KeyType<K> = PhantomData<fn() -> *const K>;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Creates a limiter with room for `max_keys` keys that are not full. Zero counts as one.
    ///
    /// # Panics
    /// If the memory for so many keys cannot be allocated; [`KeyedLimiterBuilder::build`] returns
    /// an error instead.
    #[must_use]
    #[track_caller]
    #[expect(
        clippy::panic,
        reason = "documented, as for a Vec that cannot allocate"
    )]
    pub fn new(quota: Quota, max_keys: usize) -> KeyedLimiter<K> {
        match KeyedLimiter::builder(quota)
            .max_keys(max_keys.max(1))
            .build()
        {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// Creates a builder, to set the clock for tests, the hash function or the policy of a full
    /// table.
    pub fn builder(quota: Quota) -> KeyedLimiterBuilder<K> {
        KeyedLimiterBuilder {
            quota,
            max_keys: 100_000,
            clock: Clock::process(),
            when_full: WhenFull::default(),
            patience: Patience::default(),
            hasher: DefaultHashBuilder::default(),
            hashing: None,
            keys: PhantomData,
        }
    }
}

impl<K: Hash + ?Sized, S: BuildHasher> KeyedLimiter<K, S> {
    /// Takes `cost` tokens from the key's bucket, or none; see
    /// [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(2), 1000);
    /// assert!(limiter.try_acquire("alice", 2).is_allowed());
    /// assert!(limiter.try_acquire("alice", 1).is_refused());
    /// assert!(limiter.try_acquire("bob", 1).is_allowed());
    /// ```
    #[doc(alias = "check_key")]
    #[inline(always)]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire(&self, key: &K, cost: u32) -> Decision {
        self.current
            .decide(self.hash(key), Time::Now(&self.clock), cost)
    }

    /// Like [`KeyedLimiter::try_acquire`], at time `now`: the time since a fixed moment that the
    /// caller chooses. Do not mix these calls with calls that read the clock.
    #[inline(always)]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire_at(&self, now: Duration, key: &K, cost: u32) -> Decision {
        self.current
            .decide(self.hash(key), Time::At(saturating_nanos(now)), cost)
    }

    /// Returns what [`KeyedLimiter::try_acquire`] would decide, and takes nothing; see
    /// [`Bucket::look`](crate::Bucket::look).
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{KeyedLimiter, ManualClock, Quota}};
    /// let clock = ManualClock::new();
    /// let limiter = KeyedLimiter::builder(Quota::per_minute(2)).clock(clock).build()?;
    /// let view = limiter.look("alice", 3);
    /// assert_eq!((view.is_allowed(), view.remaining()), (false, 2));
    /// limiter.try_acquire("alice", 2).ok()?;
    /// assert_eq!(limiter.look("alice", 1).retry_after(), Some(Duration::from_secs(30)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "peek")]
    #[must_use]
    pub fn look(&self, key: &K, cost: u32) -> DecisionView {
        self.look_hash(self.hash(key), self.clock.nanos(), cost)
    }

    /// Like [`KeyedLimiter::look`], at time `now`.
    #[must_use]
    pub fn look_at(&self, now: Duration, key: &K, cost: u32) -> DecisionView {
        self.look_hash(self.hash(key), saturating_nanos(now), cost)
    }

    /// Decides many requests at once, all at the same time, and calls `each` with the index of
    /// every request and its decision, in order. In a large table that is several times faster than
    /// single calls, since memory is prefetched.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::<str>::new(Quota::per_second(1), 1000);
    /// let mut allowed = Vec::new();
    /// limiter.try_acquire_batch(&[("alice", 1), ("bob", 1), ("alice", 1)], |n, decision| {
    ///     if decision.is_allowed() {
    ///         allowed.push(n);
    ///     }
    /// });
    /// assert_eq!(allowed, [0, 1]);
    /// ```
    pub fn try_acquire_batch<Q: Borrow<K>>(
        &self,
        requests: &[(Q, u32)],
        mut each: impl FnMut(usize, Decision),
    ) {
        let now = Time::At(self.clock.nanos());
        for (chunk_number, chunk) in requests.chunks(BATCH).enumerate() {
            let mut hashes = [0; BATCH];
            for (hash, (key, _)) in hashes.iter_mut().zip(chunk) {
                *hash = self.hash(key.borrow());
            }
            // One generation per chunk.
            let cached = self.current.cached_or_fetched();
            let Some(generation) = cached.generation() else {
                continue;
            };
            hashes[..chunk.len()]
                .iter()
                .for_each(|&hash| Table::prefetch(generation.table.sets.home_line(hash)));
            for (n, (&hash, &(_, cost))) in hashes.iter().zip(chunk).enumerate() {
                each(chunk_number * BATCH + n, generation.decide(hash, now, cost));
            }
        }
    }

    /// Takes `cost` tokens from the key's bucket, and waits in the order of arrival until they are
    /// available; see [`Bucket::acquire`](crate::Bucket::acquire). If the quota or the key's rule is
    /// replaced meanwhile, waiters go on under the new one, in the same order.
    ///
    /// A key on which no caller waits costs nothing. Callers wait on at most as many keys at once
    /// as the limiter was built for.
    ///
    /// # Errors
    /// If `cost` is above the capacity, now or after a change of the quota; if callers wait on too
    /// many keys ([`Outcome::QueueFull`](crate::Outcome::QueueFull)); or if the table has no slot for
    /// another key. Nothing is taken then.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let limiter = KeyedLimiter::new(Quota::per_second(100).with_capacity(2), 1000);
    /// for _ in 0..4 {
    ///     limiter.acquire("alice", 1).await?; // two at once, then one every 10 ms
    /// }
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[doc(alias = "until_key_ready")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire(
        &self,
        key: &K,
        cost: u32,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        wait::acquire(self.key_ref(key), TokioTimer, cost, None)
    }

    /// Like [`KeyedLimiter::acquire`], with a deadline.
    ///
    /// # Errors
    /// Also if the tokens are not available by `deadline`: at once when the tokens queued ahead show
    /// it, which is an estimate as for [`Bucket::acquire_by`](crate::Bucket::acquire_by), else at the
    /// deadline, with nothing taken.
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by(
        &self,
        key: &K,
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        let waiter = self.key_ref(key);
        async move {
            let left = deadline.saturating_duration_since(Instant::now());
            let max_wait = waiter.clock.within(left);
            wait::acquire(waiter, TokioTimer, cost, Some(max_wait)).await
        }
    }

    /// Like [`KeyedLimiter::acquire_by`], with the longest wait by the limiter's clock.
    ///
    /// # Errors
    /// As for [`KeyedLimiter::acquire_by`].
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_within(
        &self,
        key: &K,
        cost: u32,
        max_wait: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        wait::acquire(self.key_ref(key), TokioTimer, cost, Some(max_wait))
    }

    /// Like [`KeyedLimiter::acquire`], followed by a random wait of at most `max_jitter`; see
    /// [`Bucket::acquire_with_jitter`](crate::Bucket::acquire_with_jitter).
    ///
    /// # Errors
    /// As for [`KeyedLimiter::acquire`].
    #[cfg(feature = "tokio")]
    #[doc(alias = "until_key_ready_with_jitter")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_with_jitter(
        &self,
        key: &K,
        cost: u32,
        max_jitter: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        wait::acquire_with_jitter(self.key_ref(key), TokioTimer, cost, max_jitter)
    }

    /// Takes any number of tokens from the key's bucket; see
    /// [`Bucket::acquire_all`](crate::Bucket::acquire_all).
    ///
    /// # Errors
    /// If callers wait on too many keys, or if the table has no slot for another key. Pieces that
    /// were taken before stay spent.
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_all(
        &self,
        key: &K,
        amount: u64,
    ) -> impl Future<Output = Result<(), Refused>> + Send + use<'_, K, S> {
        wait::acquire_all(self.key_ref(key), TokioTimer, amount)
    }

    /// Like [`KeyedLimiter::acquire`], in a future that owns the limiter: for spawned tasks.
    ///
    /// # Errors
    /// As for [`KeyedLimiter::acquire`].
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_owned(
        self: std::sync::Arc<Self>,
        key: &K,
        cost: u32,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<K, S>
    where
        S: Send + Sync,
    {
        let hash = self.hash(key);
        async move { wait::acquire(self.key_ref_of(hash), TokioTimer, cost, None).await }
    }

    /// Like [`KeyedLimiter::acquire_owned`], with the longest wait. It gets the key's hash, so that
    /// the future is independent of the key's lifetime.
    #[cfg(all(feature = "tokio", feature = "tower"))]
    pub(crate) async fn acquire_hash_within(
        self: std::sync::Arc<Self>,
        hash: u64,
        cost: u32,
        max_wait: Duration,
    ) -> Result<Decision, Refused> {
        wait::acquire(self.key_ref_of(hash), TokioTimer, cost, Some(max_wait)).await
    }

    /// Returns true when callers wait for tokens of the key. A caller that may not overtake them
    /// asks before [`KeyedLimiter::try_acquire`], and waits as well or gives up. The answer may be
    /// outdated at once: it orders callers, and never lets one take more than there is.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_second(100), 1000);
    /// assert!(!limiter.has_waiters("alice"));
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn has_waiters(&self, key: &K) -> bool {
        !self.lines.is_empty(&self.hash(key))
    }

    /// Like [`KeyedLimiter::acquire`], and blocks this thread; see
    /// [`Bucket::acquire_blocking`](crate::Bucket::acquire_blocking).
    ///
    /// # Errors
    /// As for [`KeyedLimiter::acquire`].
    #[cfg(feature = "tokio")]
    pub fn acquire_blocking(&self, key: &K, cost: u32) -> Result<Decision, Refused> {
        let timer = ThreadTimer::default();
        wait::block_on(&timer, wait::acquire(self.key_ref(key), &timer, cost, None))
    }

    /// Takes `cost` tokens from the key's bucket ahead of time; see
    /// [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve(&self, key: &K, cost: u32, max_wait: Duration) -> Decision {
        self.reserve_hash(self.hash(key), self.clock.nanos(), cost, max_wait)
    }

    /// Like [`KeyedLimiter::reserve`], at time `now`.
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve_at(&self, now: Duration, key: &K, cost: u32, max_wait: Duration) -> Decision {
        self.reserve_hash(self.hash(key), saturating_nanos(now), cost, max_wait)
    }

    /// Returns the number of whole tokens available in the key's bucket.
    #[must_use]
    pub fn available(&self, key: &K) -> u32 {
        self.try_acquire(key, 0).remaining()
    }

    /// Undoes a decision on this key: gives back the tokens that are still owed, and returns true
    /// when there were any. See [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// A decision gives nothing back if the quota was replaced since, or if the key's rule was set
    /// or removed, or if the key was reset or evicted early. Keys share the stamps of resets and
    /// evictions, so such an event of another key has the same effect once in a thousand times;
    /// with an interval quota, also on a decision after it whose window began before it.
    ///
    /// # Errors
    /// When the decision was made on another key or by another limiter: then nothing is given back,
    /// and the error holds the decision.
    pub fn refund(&self, key: &K, decision: Decision) -> Result<bool, RefundError> {
        let hash = self.hash(key);
        if decision.origin().maker != self.number ^ hash {
            return Err(RefundError::new(decision));
        }
        Ok(self
            .current
            .with(|generation| generation.bucket(hash).refund(&decision)))
    }

    /// Refills the key's bucket.
    pub fn reset(&self, key: &K) {
        self.key_ref(key).reset();
    }

    /// Grants nothing on this key for `time` from now: see [`KeyedLimiter::pause_at`].
    ///
    /// # Errors
    /// As for [`KeyedLimiter::pause_at`].
    pub fn pause_for(&self, key: &K, time: Duration) -> Result<(), TooManyPauses> {
        self.pause_hash(self.hash(key), self.clock.nanos(), time)
    }

    /// Pauses this key for as long as the response of a remote asks for, and returns that time; see
    /// [`Bucket::pause_from_headers`](crate::Bucket::pause_from_headers).
    ///
    /// # Errors
    /// As for [`KeyedLimiter::pause_at`].
    #[cfg(feature = "tower")]
    pub fn pause_from_headers(
        &self,
        key: &K,
        headers: &http::HeaderMap,
    ) -> Result<Option<Duration>, TooManyPauses> {
        let Some(pause) = requested_pause(headers) else {
            return Ok(None);
        };
        self.pause_for(key, pause)?;
        Ok(Some(pause))
    }

    /// Grants nothing on this key before `instant`: see [`KeyedLimiter::pause_at`].
    ///
    /// # Errors
    /// As for [`KeyedLimiter::pause_at`].
    ///
    /// ```
    /// # use {std::time::Duration, tokio::time::Instant, tollgate::{KeyedLimiter, Quota}};
    /// let calls = KeyedLimiter::<str>::new(Quota::per_second(10), 1000);
    /// // The remote said 429, and to come back in a minute.
    /// calls.pause_until("api.example.com", Instant::now() + Duration::from_secs(60))?;
    /// assert!(calls.try_acquire("api.example.com", 1).is_refused());
    /// # Ok::<(), tollgate::TooManyPauses>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn pause_until(&self, key: &K, instant: Instant) -> Result<(), TooManyPauses> {
        self.pause_for(key, instant.saturating_duration_since(Instant::now()))
    }

    /// Grants nothing on this key for `time` from `now`, waiters in `acquire` included; see
    /// [`Bucket::pause_at`](crate::Bucket::pause_at). Changes of the quota or the rules do not end a
    /// pause.
    ///
    /// A paused key has a bucket beside the table, until it is full again after the pause and the
    /// rules or pauses change. Meant for some keys at a time: each costs as much as a rule.
    ///
    /// # Errors
    /// When 4096 keys are paused already. Then nothing has changed.
    pub fn pause_at(&self, now: Duration, key: &K, time: Duration) -> Result<(), TooManyPauses> {
        self.pause_hash(self.hash(key), saturating_nanos(now), time)
    }

    /// Returns the default quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.current.with(|generation| generation.quota)
    }

    /// Replaces the default quota, from the next call on. Every bucket is full again, those of keys
    /// with rules too; the rules stay. No call sees a part of the change.
    ///
    /// The quota in force changes nothing: every bucket keeps what was spent, so that settings can
    /// be reapplied at any time. [`KeyedLimiter::replace_and_reset`] fills the buckets then too.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(10), 1000);
    /// limiter.try_acquire("alice", 4).ok()?;
    /// limiter.replace(Quota::per_minute(10));
    /// assert_eq!(limiter.available("alice"), 6);
    /// limiter.replace(Quota::per_minute(20));
    /// assert_eq!(limiter.available("alice"), 20);
    /// # Ok::<(), tollgate::Refused>(())
    /// ```
    ///
    /// # Panics
    /// If the memory for another table cannot be allocated.
    pub fn replace(&self, quota: Quota) {
        self.update_hashes(NewDefault::Replace(quota), Vec::new());
    }

    /// Replaces the default quota as [`KeyedLimiter::replace`] does, and fills every bucket, those
    /// of keys with rules too, whether or not the quota is the one in force.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(10), 1000);
    /// limiter.try_acquire("alice", 4).ok()?;
    /// limiter.replace_and_reset(limiter.quota());
    /// assert_eq!(limiter.available("alice"), 10);
    /// # Ok::<(), tollgate::Refused>(())
    /// ```
    ///
    /// # Panics
    /// If the memory for another table cannot be allocated.
    pub fn replace_and_reset(&self, quota: Quota) {
        self.update_hashes(NewDefault::ReplaceAndReset(quota), Vec::new());
    }

    /// Like [`KeyedLimiter::replace`], with an error if the table for the new quota cannot be created,
    /// which in a [shared file](KeyedLimiterBuilder::shared_file) may fail for many reasons. Nothing has
    /// changed then.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[cfg(feature = "shared")]
    pub fn try_replace(&self, quota: Quota) -> Result<(), OpenError> {
        let replaced = self.try_update_hashes(NewDefault::Replace(quota), Vec::new());
        replaced.map(drop)
    }

    /// Like [`KeyedLimiter::replace_and_reset`], with an error as for [`KeyedLimiter::try_replace`].
    ///
    /// # Errors
    /// See [`OpenError`].
    #[cfg(feature = "shared")]
    pub fn try_replace_and_reset(&self, quota: Quota) -> Result<(), OpenError> {
        let replaced = self.try_update_hashes(NewDefault::ReplaceAndReset(quota), Vec::new());
        replaced.map(drop)
    }

    /// Returns the key's rule: its own quota, if it has one.
    #[must_use]
    pub fn rule(&self, key: &K) -> Option<Quota> {
        let hash = self.hash(key);
        self.current.with(|generation| generation.rule_quota(hash))
    }

    /// Sets a rule: gives this key a quota of its own, and a full bucket. Other keys are not
    /// affected. A rule in force changes nothing: its bucket keeps what was spent. Meant for a few
    /// keys: every rule costs about 550 bytes, and every change copies the list.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(1), 1000);
    /// limiter.set_rule("alice", Quota::per_minute(100));
    /// assert_eq!((limiter.available("alice"), limiter.available("bob")), (100, 1));
    /// assert!(limiter.remove_rule("alice"));
    /// ```
    ///
    /// # Panics
    /// If the table is shared by processes (feature `shared`) and its files cannot be changed.
    pub fn set_rule(&self, key: &K, quota: Quota) {
        self.update_hashes(NewDefault::Keep, vec![(self.hash(key), Some(quota))]);
    }

    /// Removes the key's rule, and returns true when it had one. The key then uses the bucket it
    /// had before.
    ///
    /// # Panics
    /// As for [`KeyedLimiter::set_rule`].
    pub fn remove_rule(&self, key: &K) -> bool {
        self.update_hashes(NewDefault::Keep, vec![(self.hash(key), None)]) > 0
    }

    /// Makes several changes at once, so that no call sees a part of them: the default quota, as
    /// [`KeyedLimiter::replace`] does, and rules, as [`KeyedLimiter::set_rule`] does for
    /// `Some(quota)` and [`KeyedLimiter::remove_rule`] for `None`. Values in force change nothing.
    /// The list of rules is copied once, so this is also the way to set many.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_second(1), 1000);
    /// limiter.set_rule("bob", Quota::per_second(5));
    ///
    /// limiter.update(Some(Quota::per_second(2)), [("alice", Some(Quota::per_second(10))), ("bob", None)]);
    /// assert_eq!((limiter.available("alice"), limiter.available("bob")), (10, 2));
    /// ```
    ///
    /// # Panics
    /// Like [`KeyedLimiter::replace`], if there is a new default quota.
    pub fn update<'a>(
        &self,
        default: Option<Quota>,
        rules: impl IntoIterator<Item = (&'a K, Option<Quota>)>,
    ) where
        K: 'a,
    {
        self.update_hashes(NewDefault::of(default), self.hashed(rules));
    }

    /// Like [`KeyedLimiter::update`], with an error as for [`KeyedLimiter::try_replace`].
    ///
    /// # Errors
    /// See [`OpenError`].
    #[cfg(feature = "shared")]
    pub fn try_update<'a>(
        &self,
        default: Option<Quota>,
        rules: impl IntoIterator<Item = (&'a K, Option<Quota>)>,
    ) -> Result<(), OpenError>
    where
        K: 'a,
    {
        self.try_update_hashes(NewDefault::of(default), self.hashed(rules))
            .map(drop)
    }

    /// Copies a table in a [shared file](KeyedLimiterBuilder::shared_file), with its rules, to other files: those
    /// of a table in memory to a disk, from time to time, for [`SharedBuilder::restored_from`] after a loss of
    /// power. What was admitted after the copy is admitted again then, at most one capacity a key. Blocks for as
    /// long as the writing takes; decisions go on meanwhile, and changes wait only while the memory is read.
    ///
    /// # Errors
    /// The files cannot be written, or the table has no path. The copy before is whole then.
    #[cfg(feature = "shared")]
    pub fn copy_to(&self, path: impl AsRef<Path>) -> Result<(), OpenError> {
        let what = "expected a table in a shared file, got one on the heap";
        let shared = self
            .current
            .with(|generation| generation.table.shared().cloned());
        shared
            .ok_or(OpenError::Unsupported { what })?
            .copy_to(path.as_ref())
    }

    /// Returns statistics of the table. Reads every slot: some milliseconds for a million keys.
    #[must_use]
    pub fn stats(&self) -> KeyedStats {
        let now_nanos = self.clock.nanos();
        self.current.with(|generation| {
            let table = &generation.table;
            KeyedStats {
                live: table.live(now_nanos),
                evicted_early: table.counters.get(Counter::EvictedEarly),
                saturated: table.counters.get(Counter::Saturated),
                slots: table.slots(),
                bytes: table.sets.bytes(),
                #[cfg(feature = "shared")]
                stolen: table.counters.get(Counter::Stolen),
                #[cfg(feature = "shared")]
                undone: table.counters.get(Counter::Undone),
                #[cfg(feature = "shared")]
                fenced: table.counters.get(Counter::Fenced),
                #[cfg(feature = "shared")]
                is_outdated: !generation.is_current(),
                #[cfg(feature = "shared")]
                is_detached: table.shared().is_some_and(|shared| shared.is_detached()),
            }
        })
    }

    /// Returns a reference to the key's bucket.
    #[inline]
    pub(crate) fn key_ref(&self, key: &K) -> KeyRef<'_> {
        self.key_ref_of(self.hash(key))
    }

    /// Returns a reference to the key's bucket, whose hash in `other` is this.
    #[inline]
    pub(crate) fn key_ref_like(&self, key: &K, other: &Self, hash: u64) -> KeyRef<'_> {
        if self.hashing == other.hashing {
            self.key_ref_of(hash)
        } else {
            self.key_ref(key)
        }
    }

    #[inline]
    pub(crate) fn key_ref_of(&self, hash: u64) -> KeyRef<'_> {
        KeyRef {
            current: &self.current,
            clock: &self.clock,
            #[cfg(feature = "tokio")]
            lines: &self.lines,
            hash,
        }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Returns changes of rules by the hashes of their keys.
    fn hashed<'a>(
        &self,
        rules: impl IntoIterator<Item = (&'a K, Option<Quota>)>,
    ) -> Vec<(u64, Option<Quota>)>
    where
        K: 'a,
    {
        let rules = rules.into_iter();
        rules.map(|(key, quota)| (self.hash(key), quota)).collect()
    }

    fn look_hash(&self, hash: u64, now_nanos: u64, cost: u32) -> DecisionView {
        self.current
            .with(|generation| generation.bucket(hash).look(now_nanos, cost))
    }

    fn reserve_hash(&self, hash: u64, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        self.current
            .with(|generation| generation.bucket(hash).reserve(now_nanos, cost, max_wait))
    }

    /// Returns the number of rules that were removed. Without a change, threads keep the generation
    /// that they have cached.
    fn try_update_hashes(
        &self,
        default: NewDefault,
        changes: Vec<(u64, Option<Quota>)>,
    ) -> Result<usize, ChangeError> {
        let (mut removed, now) = (0, self.clock.nanos());
        let new_origin = || self.current.new_origin();
        let changed = self.current.replace_with(|old| {
            let new_default = match default {
                NewDefault::Replace(quota) => Some(quota).filter(|&quota| quota != old.quota),
                NewDefault::ReplaceAndReset(quota) => Some(quota),
                NewDefault::Keep => None,
            };
            if new_default.is_none()
                && changes
                    .iter()
                    .all(|&(hash, quota)| old.rule_quota(hash) == quota)
            {
                return Ok(None);
            }
            #[cfg(feature = "shared")]
            if let Some(shared) = old.table.shared() {
                let sets = old.table.sets.count();
                removed = shared.change(&Change {
                    default: new_default.map(|quota| (quota, sets)),
                    resets: matches!(default, NewDefault::ReplaceAndReset(_)),
                    rules: &changes,
                })?;
                return Ok(old.after_change(new_origin));
            }
            let quota = new_default.unwrap_or(old.quota);
            let (table, origin, mut rules) = match new_default {
                None => (
                    Arc::clone(&old.table),
                    old.table_origin,
                    unexpired(&old.rules, now),
                ),
                Some(quota) => (
                    new_table(&quota, &old.table).ok_or(OutOfMemory)?,
                    new_origin(),
                    refilled(&old.rules, quota, now, new_origin),
                ),
            };
            for (hash, own) in changes {
                let rule = rules.get(&hash);
                if rule.and_then(|rule| rule.quota()) == own {
                    continue;
                }
                removed += usize::from(own.is_none());
                match Rule::after(rule.map(|rule| &**rule), own, quota, now, new_origin) {
                    Some(rule) => drop(rules.insert(hash, rule)),
                    None => drop(rules.remove(&hash)),
                }
            }
            Ok(Some(Generation::new(
                quota,
                self.number,
                table,
                origin,
                rules,
            )))
        });
        #[cfg(feature = "tokio")]
        self.lines.notify_all();
        changed.map(|()| removed)
    }

    /// Like [`KeyedLimiter::try_update_hashes`], and panics if the table cannot be created.
    #[expect(
        clippy::panic,
        reason = "documented, as for a Vec that cannot allocate"
    )]
    fn update_hashes(&self, default: NewDefault, changes: Vec<(u64, Option<Quota>)>) -> usize {
        match self.try_update_hashes(default, changes) {
            Ok(removed) => removed,
            Err(error) => panic!("{error}"),
        }
    }

    fn pause_hash(&self, hash: u64, now: u64, time: Duration) -> Result<(), TooManyPauses> {
        let until = now.saturating_add(saturating_nanos(time));
        let result = self.current.replace_with(|old| {
            if let Some(rule) = old.rule(hash) {
                rule.pause(now, until);
                return Ok(None);
            }
            let mut rules = unexpired(&old.rules, now);
            if rules.values().filter(|rule| rule.is_pause()).count() >= MAX_PAUSES {
                return Err(TooManyPauses);
            }
            let quota = old.rule_quota(hash).unwrap_or(old.quota);
            let rule = Rule::of_pause(quota, self.current.new_origin());
            rule.pause(now, until);
            rules.insert(hash, Arc::new(rule));
            Ok(Some(old.with_rules(rules)))
        });
        #[cfg(feature = "tokio")]
        self.lines.notify(&hash);
        result
    }
}

/// Change of the default quota.
#[derive(Clone, Copy)]
enum NewDefault {
    Keep,
    /// Fills every bucket, unless the quota is the one in force.
    Replace(Quota),
    /// Fills every bucket.
    ReplaceAndReset(Quota),
}

impl NewDefault {
    /// `None`: the default quota stays.
    fn of(quota: Option<Quota>) -> NewDefault {
        quota.map_or(NewDefault::Keep, NewDefault::Replace)
    }
}

impl<K: ?Sized, S> fmt::Debug for KeyedLimiter<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quota, rules, slots) = self.current.with(|generation| {
            (
                generation.quota,
                generation.rule_count(),
                generation.table.slots(),
            )
        });
        f.debug_struct("KeyedLimiter")
            .field("quota", &quota)
            .field("rules", &rules)
            .field("slots", &slots)
            .finish_non_exhaustive()
    }
}

/// Builder of a [`KeyedLimiter`]; see [`KeyedLimiter::builder`].
#[must_use = "nothing is built before build() is called"]
pub struct KeyedLimiterBuilder<K: ?Sized, S = DefaultHashBuilder> {
    quota: Quota,
    max_keys: usize,
    clock: Clock,
    when_full: WhenFull,
    patience: Patience,
    hasher: S,
    /// See [`KeyedLimiter`]; `None`: a new one.
    hashing: Option<u32>,
    keys: KeyType<K>,
}

impl<K: Hash + ?Sized, S: BuildHasher> KeyedLimiterBuilder<K, S> {
    /// Sets the number of keys, not counting full buckets, that the table has room for. The default
    /// is 100,000. Each takes some 27 bytes of memory, which the operating system commits on first
    /// use.
    pub fn max_keys(self, max_keys: usize) -> Self {
        KeyedLimiterBuilder { max_keys, ..self }
    }

    /// Sets the clock in place of [`Clock::process`]: [`Clock::monotonic`], or a
    /// [`ManualClock`](crate::ManualClock) for tests.
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        KeyedLimiterBuilder {
            clock: clock.into(),
            ..self
        }
    }

    /// Sets the policy for a new key that finds no free slot.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        KeyedLimiterBuilder { when_full, ..self }
    }

    /// Lets threads count as gone at any moment, as in a table that several processes share.
    #[cfg(tollgate_loom)]
    pub fn with_mortal_threads(self) -> Self {
        KeyedLimiterBuilder {
            patience: Patience::Limited,
            ..self
        }
    }

    /// Sets the hash function. It must be seeded, and good in all 64 bits.
    ///
    /// The default is foldhash with a random seed. If an attacker can choose keys freely and time
    /// their decisions, use the standard library's `RandomState` (SipHash), which costs some 9 ns
    /// more.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> KeyedLimiterBuilder<K, T> {
        let KeyedLimiterBuilder {
            quota,
            max_keys,
            clock,
            when_full,
            patience,
            ..
        } = self;
        KeyedLimiterBuilder {
            quota,
            max_keys,
            clock,
            when_full,
            patience,
            hasher,
            hashing: None,
            keys: PhantomData,
        }
    }

    /// Hashes keys as another limiter does, with its function and its seed, so that
    /// [`all_on_key`](crate::all_on_key) hashes a key once for both.
    pub fn hashed_like(self, other: &KeyedLimiter<K, S>) -> Self
    where
        S: Clone,
    {
        KeyedLimiterBuilder {
            hasher: other.hasher.clone(),
            hashing: Some(other.hashing),
            ..self
        }
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// If `max_keys` is zero or more than the table can address, or if the memory for so many keys
    /// cannot be allocated.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, WhenFull};
    /// let limiter =
    ///     KeyedLimiter::builder(Quota::per_second(10)).max_keys(5_000).when_full(WhenFull::RefuseNewcomer).build()?;
    /// assert!(limiter.try_acquire("alice", 1).is_allowed());
    ///
    /// let error = KeyedLimiter::<str>::builder(Quota::per_second(10)).max_keys(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_keys: expected 1 to 20615843020, got 0");
    /// # Ok::<(), tollgate::BuildError>(())
    /// ```
    pub fn build(self) -> Result<KeyedLimiter<K, S>, BuildError> {
        let max_keys = self.max_keys;
        let sets = sets::sets_for(max_keys).ok_or(BuildError::MaxKeys { max_keys })?;
        let table = Table::new(&self.quota, sets, self.when_full, self.patience);
        let table = table.ok_or(BuildError::OutOfMemory {
            max_keys,
            bytes: sets::bytes_of(sets),
        })?;
        Ok(self.build_with(table))
    }

    fn build_with(self, table: impl Into<Arc<Table>>) -> KeyedLimiter<K, S> {
        let number = origin::spread(origin::draw());
        let generation = Generation::new(self.quota, number, table.into(), 0, Rules::default());
        KeyedLimiter {
            current: CurrentGeneration::new(generation),
            clock: self.clock,
            hasher: self.hasher,
            hashing: self.hashing.unwrap_or_else(origin::draw),
            number,
            #[cfg(feature = "tokio")]
            lines: Lines::new(self.max_keys),
            keys: PhantomData,
        }
    }
}

#[cfg(feature = "shared")]
impl<K: Hash + ?Sized> KeyedLimiterBuilder<K> {
    /// Puts the table in a file, which all processes of the machine that open it share: one limit for
    /// all of them, which outlives them. Linux, 64 bits.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("limits"); // such as /run/api/limits
    /// let open = || {
    ///     let builder = KeyedLimiter::<str>::builder(Quota::per_minute(10)).max_keys(10_000);
    ///     builder.shared_file(&path).open()
    /// };
    /// let (one, other) = (open()?, open()?); // in any processes
    /// assert_eq!(one.try_acquire("alice", 4).remaining(), 6);
    /// assert_eq!(other.try_acquire("alice", 1).remaining(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # File
    ///
    /// The file and others beside it, whose names begin with its name and a dot, are created for the user
    /// of the process alone, in a directory where no other user may write. The best place is a directory
    /// in `/run` or `/dev/shm`: memory that outlives processes, and not a reboot. On a disk a table
    /// outlives reboots too; after a loss of power it is as it was some seconds before. A program of the same user
    /// can change the file, or truncate it, which ends all processes that use it by a signal.
    ///
    /// # What is shared
    ///
    /// Decisions, refunds, resets, and changes of the quota and of rules, from the next call on. There are at
    /// most 1000 rules. Each process has its own pauses and lines of callers that wait: tokens go to the callers
    /// of one process in their order, and to those of several as they come.
    ///
    /// Changes panic when a file cannot be created; [`KeyedLimiter::try_replace`] and
    /// [`KeyedLimiter::try_update`] return the error.
    ///
    /// # Processes that die or stop
    ///
    /// A decision on a known key is one swap of a word: a process that dies has made it or not. One that
    /// dies or stops while it inserts a key delays the next insert of a key at the same place by some
    /// 0.1 ms, and costs at most one request of another key whose bucket was full or, where the table
    /// evicts, a bucket that is forgotten early. Nothing more is ever admitted. No insert waits longer than
    /// 20 ms: it is then refused, and counted in [`KeyedStats::saturated`].
    ///
    /// # Time
    ///
    /// A shared table has a clock of its own, `CLOCK_BOOTTIME`, which all processes read alike. So methods
    /// that get a time (`_at`) are not for such limiters.
    pub fn shared_file(self, path: impl Into<PathBuf>) -> SharedBuilder<K> {
        SharedBuilder::new(self, SharedPlace::Path(path.into()))
    }

    /// Puts the table in a file without a name, which children of the process inherit: a memfd created
    /// with `MFD_ALLOW_SEALING`, empty or with such a table. The first to open it writes and seals it, so
    /// open it once before it is passed on. No process can truncate it, and its quota stays.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// # use rustix::fs::{MemfdFlags, memfd_create};
    /// let memory = memfd_create("limits", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    /// let limiter = KeyedLimiter::<str>::builder(Quota::per_minute(10))
    ///     .max_keys(10_000)
    ///     .shared_fd(memory)
    ///     .open()?;
    /// assert!(limiter.try_acquire("alice", 1).is_allowed()); // also in children
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shared_fd(self, memory: OwnedFd) -> SharedBuilder<K> {
        SharedBuilder::new(self, SharedPlace::Fd(memory))
    }
}

impl<K: ?Sized, S: Clone> Clone for KeyedLimiterBuilder<K, S> {
    fn clone(&self) -> Self {
        KeyedLimiterBuilder {
            hasher: self.hasher.clone(),
            clock: self.clock.clone(),
            ..*self
        }
    }
}

impl<K: ?Sized, S> fmt::Debug for KeyedLimiterBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiterBuilder")
            .field("quota", &self.quota)
            .field("max_keys", &self.max_keys)
            .field("clock", &self.clock)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

/// Builder of a [`KeyedLimiter`] whose table several processes share; see
/// [`KeyedLimiterBuilder::shared_file`].
#[cfg(feature = "shared")]
#[must_use = "nothing is opened before open() is called"]
pub struct SharedBuilder<K: ?Sized> {
    builder: KeyedLimiterBuilder<K>,
    place: SharedPlace,
    replaces: bool,
    copy: Option<PathBuf>,
}

#[cfg(feature = "shared")]
enum SharedPlace {
    Path(PathBuf),
    Fd(OwnedFd),
}

#[cfg(feature = "shared")]
impl<K: Hash + ?Sized> SharedBuilder<K> {
    fn new(builder: KeyedLimiterBuilder<K>, place: SharedPlace) -> Self {
        SharedBuilder {
            builder,
            place,
            replaces: false,
            copy: None,
        }
    }

    /// Sets the number of keys; see [`KeyedLimiterBuilder::max_keys`]. The space of the file is reserved
    /// at once.
    pub fn max_keys(self, max_keys: usize) -> Self {
        SharedBuilder {
            builder: self.builder.max_keys(max_keys),
            ..self
        }
    }

    /// Sets the policy of this process for a new key that finds no free slot.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        SharedBuilder {
            builder: self.builder.when_full(when_full),
            ..self
        }
    }

    /// Replaces a table with another quota or size, for all processes that share it, in place of an
    /// error. All buckets are full then. A table in a file without a name keeps its quota. Programs of
    /// two versions that do this reset each other's limit whenever they start.
    pub fn replace_quota(self) -> Self {
        SharedBuilder {
            replaces: true,
            ..self
        }
    }

    /// Creates a table that is missing from a copy, if there is one; see [`KeyedLimiter::copy_to`].
    pub fn restored_from(self, path: impl Into<PathBuf>) -> Self {
        SharedBuilder {
            copy: Some(path.into()),
            ..self
        }
    }

    /// Opens the table, and creates it if there is none. May wait up to two seconds for other processes
    /// that open or change it.
    ///
    /// # Errors
    /// See [`OpenError`]: the file is not private, is not a table, has another quota or size, cannot be
    /// created, and so on.
    pub fn open(self) -> Result<KeyedLimiter<K>, OpenError> {
        let builder = self.builder;
        if !builder.clock.is_default() {
            let what = "clock: a shared table has a clock of its own";
            return Err(OpenError::Unsupported { what });
        }
        let max_keys = builder.max_keys;
        let sets = sets::sets_for(max_keys).ok_or(BuildError::MaxKeys { max_keys })?;
        let seeds = match (builder.hashing, builder.hasher.seeds()) {
            (None, _) => None,
            (Some(_), None) => return Err(OpenError::OtherSeed),
            (Some(_), seeds) => seeds,
        };
        let wanted = Wanted {
            quota: builder.quota,
            sets,
            seeds,
            replaces: self.replaces,
            copy: self.copy.as_deref(),
        };
        let Opened {
            shared,
            table,
            alone,
        } = match self.place {
            SharedPlace::Path(path) => Shared::open(&path, &wanted)?,
            SharedPlace::Fd(file) => Shared::open_fd(file, &wanted)?,
        };
        let clock = shared.clock();
        let hasher = DefaultHashBuilder::with_seeds(shared.seeds());
        let table = Table::in_file(table, Arc::new(shared), builder.when_full);
        let builder = KeyedLimiterBuilder {
            clock,
            hasher,
            ..builder
        };
        let limiter = builder.build_with(table);
        // Another process may change it at this moment.
        let is_current = || limiter.current.with(Generation::is_current);
        if !(0..OPEN_TRIES).any(|_| is_current()) {
            let what = "the table of a rule is missing, or cannot be mapped";
            return Err(OpenError::Damaged { what });
        }
        if alone.is_some() {
            // With the current rules.
            let clock = &limiter.clock;
            limiter.current.with(|generation| generation.repair(clock));
        }
        drop(alone);
        Ok(limiter)
    }
}

#[cfg(feature = "shared")]
impl<K: ?Sized> fmt::Debug for SharedBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedBuilder");
        debug.field("builder", &self.builder);
        match &self.place {
            SharedPlace::Path(path) => debug.field("path", path),
            SharedPlace::Fd(file) => debug.field("file", file),
        };
        debug
            .field("replaces_quota", &self.replaces)
            .finish_non_exhaustive()
    }
}
