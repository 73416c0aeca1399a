//! Bucket: one atomic word, and the CAS loops that change it.
//!
//! Orderings: the word publishes no other memory, so decisions are relaxed. The modification order
//! of the word is all that the arithmetic needs. Only resets, pauses and rebases publish other
//! values, `refundable_from` and `paused_until`: they raise them before they store the word
//! (release), and a refund loads the word first (acquire). Charges in between are read-modify-writes
//! and continue the release sequence, so a refund that sees any word newer than the reset sees them
//! as well.

use core::{
    cell::Cell,
    fmt,
    sync::atomic::{self, AtomicU32},
    time::Duration,
};
#[cfg(feature = "tokio")]
use std::sync::Arc;

#[cfg(feature = "tokio")]
use tokio::time::Instant;

#[cfg(feature = "std")]
use crate::clock::Clock;
#[cfg(feature = "tower")]
use crate::requested_pause::requested_pause;
use crate::{
    attempt::{Attempt, Transition},
    cache_padded::CachePadded,
    decision::{Decision, DecisionView, Outcome, RefundError},
    duration::saturating_nanos,
    origin::{self, Origin},
    quota::Quota,
    state::{Layout, State},
    sync::{AtomicU64, Ordering, const_fn},
};
#[cfg(feature = "tokio")]
use crate::{
    decision::Refused,
    wait::{self, Line, Reservable, ThreadTimer, TokioTimer},
};

/// One token bucket.
///
/// ```
/// use tollgate::{Bucket, Quota};
///
/// // 10 at once, then 5 a second. A static: no lazy cell, no allocation.
/// static UPLOADS: Bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
///
/// # #[cfg(feature = "std")]
/// if UPLOADS.try_acquire(1).is_allowed() {
///     // upload
/// }
/// ```
///
/// Methods without a suffix (feature `std`) read the bucket's clock: the process-wide clock for
/// [`Bucket::new`], and any other for `Bucket::with_clock`. Methods that end in `_at` take the time
/// as an argument: the time since an origin that the caller chooses, the same for all calls on one
/// bucket. Mixing both kinds on one bucket mixes two clocks, and the bucket follows the later one.
///
/// In any time span the bucket admits at most its capacity plus the refill of that span, to within
/// [`Quota::resolution`], regardless of threads, clocks, refunds and cancelled waiters.
///
/// A bucket is 256 bytes and allocates nothing on the heap.
#[doc(alias = "RateLimiter")]
pub struct Bucket {
    /// Padded: the word moves between cores, and the layout, which a decision reads before the
    /// word, must not move with it (false sharing).
    shared: CachePadded<Shared>,
    layout: Layout,
    #[cfg(feature = "std")]
    clock: Clock,
}

/// Parts of a bucket that change.
struct Shared {
    word: AtomicU64,
    /// Decisions with an older stamp were made before a reset or a pause and are not refundable.
    refundable_from: AtomicU64,
    /// End of the latest pause of a greedy quota. A bucket with this stamp has not been charged by a
    /// later clock.
    paused_until: AtomicU64,
    /// Identifies the bucket in its decisions. Drawn by the first one, since a constant cannot draw
    /// a number: 0 until then.
    number: AtomicU32,
    #[cfg(feature = "tokio")]
    line: Line,
}

impl Bucket {
    const_fn! {
        /// Creates a full bucket on the process-wide clock, which tests cannot advance.
        #[must_use]
        pub const fn new(quota: Quota) -> Bucket {
            Bucket {
                shared: CachePadded::new(Shared {
                    word: AtomicU64::new(0),
                    refundable_from: AtomicU64::new(0),
                    paused_until: AtomicU64::new(0),
                    number: AtomicU32::new(0),
                    #[cfg(feature = "tokio")]
                    line: Line::new(),
                }),
                layout: quota.layout(),
                #[cfg(feature = "std")]
                clock: Clock::process(),
            }
        }
    }

    /// Creates a full bucket on another clock: `TokioClock` (feature `tokio`) or
    /// [`ManualClock`](crate::ManualClock) for tests, or [`Clock::monotonic`].
    ///
    /// ```
    /// use {std::time::Duration, tollgate::{Bucket, ManualClock, Quota}};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = Bucket::with_clock(Quota::per_second(1), clock.clone());
    /// assert!(bucket.try_acquire(1).is_allowed());
    /// assert!(bucket.try_acquire(1).is_refused());
    /// clock.advance(Duration::from_secs(1));
    /// assert!(bucket.try_acquire(1).is_allowed());
    /// ```
    #[cfg(feature = "std")]
    #[must_use]
    pub fn with_clock(quota: Quota, clock: impl Into<Clock>) -> Bucket {
        Bucket {
            clock: clock.into(),
            ..Bucket::new(quota)
        }
    }

    /// Takes `cost` tokens, or none if fewer are available.
    ///
    /// A cost of 0 takes nothing, is always allowed, and returns the current state. A cost above
    /// the capacity is refused as [`Outcome::CostAboveCapacity`]. A refusal writes nothing.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// static UPLOADS: Bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
    /// assert!(UPLOADS.try_acquire(10).is_allowed());
    /// assert!(UPLOADS.try_acquire(10).is_refused());
    /// ```
    #[cfg(feature = "std")]
    #[doc(alias = "check")]
    #[inline(always)]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire(&self, cost: u32) -> Decision {
        self.decide(Attempt::immediate(&self.layout, self.clock.nanos(), cost))
    }

    /// Takes `cost` tokens, and waits in the order of arrival until they are available.
    ///
    /// Callers that wait with [`Bucket::acquire_blocking`] stand in the same line. A caller may give
    /// up at any time, as under `tokio::time::timeout`: a dropped future takes nothing, and its
    /// tokens go to the next caller. While a future is neither polled nor dropped, the line waits
    /// for it.
    ///
    /// [`Bucket::try_acquire`] does not queue. It cannot take what the first waiter in line has
    /// reserved, but it may take what refills after one waiter is served and before the next one
    /// runs. That delays the next one by at most the refill of its own cost, so that small costs do
    /// not starve a large one.
    ///
    /// # Errors
    /// When `cost` is above the capacity, so that it could never be had: at once, with nothing
    /// taken.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// static UPLOADS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(10));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// for _ in 0..20 {
    ///     UPLOADS.acquire(1).await?; // ten at once, then one every 10 ms
    /// }
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[doc(alias = "until_ready")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire(&self, cost: u32) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait::acquire(self, TokioTimer, cost, None)
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`Bucket::acquire`], and when the tokens are not available by the deadline: at once
    /// when the tokens queued ahead show it, else at the deadline, with nothing taken. What is
    /// queued ahead is an estimate: callers ahead may give up later.
    ///
    /// ```
    /// # use {std::time::Duration, tokio::time::Instant, tollgate::{Bucket, Outcome, Quota}};
    /// static CALLS: Bucket = Bucket::new(Quota::per_minute(1));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// CALLS.acquire(1).await?;
    /// let refused = CALLS.acquire_by(1, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
    /// assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub async fn acquire_by(&self, cost: u32, deadline: Instant) -> Result<Decision, Refused> {
        let left = deadline.saturating_duration_since(Instant::now());
        wait::acquire(self, TokioTimer, cost, Some(self.clock.within(left))).await
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], but waits no longer than `max_wait`, by the
    /// bucket's clock.
    ///
    /// # Errors
    /// As for [`Bucket::acquire_by`].
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// static CALLS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(1));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// CALLS.acquire(1).await?;
    /// assert!(CALLS.acquire_within(1, Duration::from_millis(5)).await.is_err()); // at once
    /// assert!(CALLS.acquire_within(1, Duration::from_millis(200)).await.is_ok());
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_within(
        &self,
        cost: u32,
        max_wait: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait::acquire(self, TokioTimer, cost, Some(max_wait))
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], and then waits for a random time of at most
    /// `max_jitter`, by the bucket's clock: for clients that should not call a remote at the same
    /// moment.
    ///
    /// The next waiter is served meanwhile. A future that is dropped during this time refunds its
    /// charge; see [`Bucket::refund`].
    ///
    /// # Errors
    /// As for [`Bucket::acquire`].
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// static CALLS: Bucket = Bucket::new(Quota::per_second(100));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// CALLS.acquire_with_jitter(1, Duration::from_millis(5)).await?;
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[doc(alias = "until_ready_with_jitter")]
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_with_jitter(
        &self,
        cost: u32,
        max_jitter: Duration,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait::acquire_with_jitter(self, TokioTimer, cost, max_jitter)
    }

    /// Takes any number of tokens, in pieces of at most the capacity, and lets no other waiter in
    /// between: for bytes of a transfer, or a batch.
    ///
    /// When the future is dropped, the pieces that it has taken stay spent.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// static BANDWIDTH: Bucket = Bucket::new(Quota::per_second(1_000_000).with_capacity(10_000));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// BANDWIDTH.acquire_all(25_000).await; // 10,000 at once, the rest within 15 ms
    /// # });
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub async fn acquire_all(&self, amount: u64) {
        // Cannot fail: a piece is at most the capacity, and a bucket has one line.
        let _ = wait::acquire_all(self, TokioTimer, amount).await;
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], in a future that owns its bucket: for spawned
    /// tasks.
    ///
    /// # Errors
    /// As for [`Bucket::acquire`].
    ///
    /// ```
    /// # use {std::sync::Arc, tollgate::{Bucket, Quota}};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let bucket = Arc::new(Bucket::new(Quota::per_second(100)));
    /// let task = tokio::spawn(Arc::clone(&bucket).acquire_owned(1));
    /// # task.await.unwrap()?;
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use = "futures do nothing unless awaited"]
    pub async fn acquire_owned(self: Arc<Self>, cost: u32) -> Result<Decision, Refused> {
        self.acquire(cost).await
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], and blocks this thread until they are
    /// available. Threads and tasks that wait for the same bucket stand in one line.
    ///
    /// Not for asynchronous code: it would block the runtime's thread.
    ///
    /// # Errors
    /// As for [`Bucket::acquire`].
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// static UPLOADS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(1));
    /// for _ in 0..3 {
    ///     UPLOADS.acquire_blocking(1)?; // one every 10 ms
    /// }
    /// # Ok::<(), tollgate::Refused>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn acquire_blocking(&self, cost: u32) -> Result<Decision, Refused> {
        let timer = ThreadTimer::default();
        wait::block_on(&timer, wait::acquire(self, &timer, cost, None))
    }

    /// Reserves `cost` tokens that are available within `max_wait`; see [`Bucket::reserve_at`].
    #[cfg(feature = "std")]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve(&self, cost: u32, max_wait: Duration) -> Decision {
        self.decide(Attempt::reservation(
            &self.layout,
            self.clock.nanos(),
            cost,
            max_wait,
        ))
    }

    /// Returns the number of whole tokens available.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available_at(self.clock.now())
    }

    /// Undoes a decision: gives back the tokens that are still owed, and returns true when there
    /// were any.
    ///
    /// Tokens that have been refilled in the meantime are not given back a second time. A charge
    /// refunded immediately is given back whole; after a later charge, the refill between the two
    /// charges is subtracted. A reservation ahead of time is given back whole while it is the last
    /// one; after a later one, it gives nothing back until it is ready.
    ///
    /// # Errors
    /// When another bucket made the decision: then nothing is given back, and the error holds the
    /// decision. A bucket is identified by a number that its first decision draws, so it keeps its
    /// identity when it is moved. A `static` is one bucket. A `const` is not: each mention of it
    /// creates a bucket of its own, so its decisions can be refunded to no other mention.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_minute(10));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 4);
    /// assert!(bucket.refund(decision)?);
    /// assert_eq!(bucket.available_at(Duration::ZERO), 10);
    /// # Ok::<(), tollgate::RefundError>(())
    /// ```
    pub fn refund(&self, decision: Decision) -> Result<bool, RefundError> {
        if decision.origin() == self.origin() {
            Ok(self.refund_charge(&decision))
        } else {
            Err(RefundError::new(decision))
        }
    }

    /// Undoes a charge that this bucket made; see [`Bucket::refund`].
    pub(crate) fn refund_charge(&self, decision: &DecisionView) -> bool {
        let (sold, charged) = decision.charge();
        self.update(|state| {
            if !self.is_refundable(sold.stamp) {
                None
            } else if sold.stamp < state.stamp && self.is_paused_until(state.stamp) {
                self.layout.refund_in_pause(state, sold, charged)
            } else {
                self.layout.refund(state, sold, charged)
            }
        })
    }

    /// Returns what [`Bucket::try_acquire`] would decide, and takes nothing. The view shows the
    /// tokens that are available, and cannot be refunded.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// let bucket = Bucket::new(Quota::per_second(5));
    /// assert!(bucket.look(5).is_allowed());
    /// assert!(bucket.look(6).is_refused());
    /// assert_eq!(bucket.look(1).remaining(), 5);
    /// ```
    ///
    /// ```compile_fail,E0308
    /// # use tollgate::{Bucket, Quota};
    /// let bucket = Bucket::new(Quota::per_second(5));
    /// bucket.refund(bucket.look(1));
    /// ```
    #[cfg(feature = "std")]
    #[doc(alias = "peek")]
    #[must_use]
    pub fn look(&self, cost: u32) -> DecisionView {
        self.look_at(self.clock.now(), cost)
    }

    /// Returns what [`Bucket::try_acquire_at`] would decide; see `Bucket::look`.
    #[must_use]
    pub fn look_at(&self, now: Duration, cost: u32) -> DecisionView {
        let attempt = Attempt::immediate(&self.layout, saturating_nanos(now), cost);
        attempt.look(self.word().1)
    }

    /// Fills the bucket; see [`Bucket::reset_at`].
    #[cfg(feature = "std")]
    pub fn reset(&self) {
        self.reset_at(self.clock.now());
    }

    /// Grants nothing for `time` from now; see [`Bucket::pause_at`].
    #[cfg(feature = "std")]
    pub fn pause_for(&self, time: Duration) {
        self.pause_at(self.clock.now(), time);
    }

    /// Pauses for as long as the response of a remote asks for, and returns that time: an outgoing
    /// client obeys its remote.
    ///
    /// The longest of these counts, and at most a day. Malformed headers are ignored.
    ///
    /// - `Retry-After`: seconds, or a date, which is compared with the response's `Date`.
    /// - `RateLimit` of the IETF's drafts, of policies with nothing left (`"default";r=0;t=30`).
    /// - `X-RateLimit-Reset`, `X-Rate-Limit-Reset` and `RateLimit-Reset`, when the `-Remaining`
    ///   beside it is 0. A number below 10⁹ is seconds from now, a larger one a Unix time, and one
    ///   from 10¹² on a Unix time in milliseconds.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota}};
    /// static CALLS: Bucket = Bucket::new(Quota::per_second(10));
    ///
    /// # let mut headers = HeaderMap::new();
    /// # headers.insert("retry-after", "30".parse().unwrap());
    /// # struct Response { headers: HeaderMap }
    /// # let response = Response { headers };
    /// let paused = CALLS.pause_from_headers(&response.headers);
    /// assert_eq!(paused, Some(Duration::from_secs(30)));
    /// assert!(CALLS.try_acquire(1).is_refused());
    /// ```
    #[cfg(feature = "tower")]
    pub fn pause_from_headers(&self, headers: &http::HeaderMap) -> Option<Duration> {
        let pause = requested_pause(headers)?;
        self.pause_for(pause);
        Some(pause)
    }

    /// Grants nothing before `instant`; see [`Bucket::pause_at`].
    ///
    /// ```
    /// # use {std::time::Duration, tokio::time::Instant, tollgate::{Bucket, Quota}};
    /// static CALLS: Bucket = Bucket::new(Quota::per_second(10));
    /// // The remote said 429, and to come back in a minute.
    /// CALLS.pause_until(Instant::now() + Duration::from_secs(60));
    /// assert!(CALLS.try_acquire(1).is_refused());
    /// ```
    #[cfg(feature = "tokio")]
    pub fn pause_until(&self, instant: Instant) {
        self.pause_for(instant.saturating_duration_since(Instant::now()));
    }

    /// Returns the quota of the bucket.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        Quota::of(&self.layout.scaled)
    }

    /// Takes `cost` tokens at time `now`, or none if fewer are available.
    ///
    /// A cost of 0 takes nothing, is always allowed, and returns the current state. A cost above
    /// the capacity is refused as [`Outcome::CostAboveCapacity`]. A refusal writes nothing.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
    /// assert!(bucket.try_acquire_at(Duration::ZERO, 10).is_allowed());
    /// assert!(bucket.try_acquire_at(Duration::from_millis(199), 1).is_refused());
    /// assert!(bucket.try_acquire_at(Duration::from_millis(200), 1).is_allowed());
    /// ```
    #[inline]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire_at(&self, now: Duration, cost: u32) -> Decision {
        self.decide(Attempt::immediate(
            &self.layout,
            saturating_nanos(now),
            cost,
        ))
    }

    /// Takes `cost` tokens at time `now`, ahead of time if necessary: the caller may use them after
    /// [`DecisionView::wait`], which is at most `max_wait`. A caller that no longer needs them passes
    /// the decision to [`Bucket::refund`].
    ///
    /// `acquire` (feature `tokio`) is built on this method, which also serves other runtimes and
    /// threads. Reservations become ready in the order in which they were made. They may take at
    /// most one capacity ahead of time; beyond it they are [`Outcome::Refused`].
    ///
    /// A reservation that is given back while it is the last one is given back whole. One that is
    /// not the last gives nothing back, so of a queue of reservations whose callers give up, most
    /// tokens are lost. `acquire` has at most one reservation at a time and loses none.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Outcome, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(10));
    /// let (now, half) = (Duration::ZERO, Duration::from_millis(500));
    /// assert_eq!(bucket.reserve_at(now, 10, half).wait(), Duration::ZERO);
    /// assert_eq!(bucket.reserve_at(now, 5, half).wait(), half);
    /// assert_eq!(bucket.reserve_at(now, 1, half).outcome(), Outcome::DeadlineTooSoon);
    /// ```
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve_at(&self, now: Duration, cost: u32, max_wait: Duration) -> Decision {
        self.decide(Attempt::reservation(
            &self.layout,
            saturating_nanos(now),
            cost,
            max_wait,
        ))
    }

    /// Returns the number of whole tokens available at time `now`.
    #[must_use]
    pub fn available_at(&self, now: Duration) -> u32 {
        self.try_acquire_at(now, 0).remaining()
    }

    /// Fills the bucket at time `now`. Earlier decisions are no longer refundable, and waiters in
    /// `acquire` queue again. The first token taken after a reset may refill one step
    /// ([`Quota::resolution`]) later.
    ///
    /// A reset during a pause lets one capacity pass, which refills from the end of the pause on.
    pub fn reset_at(&self, now: Duration) {
        let tick = self.layout.tick(saturating_nanos(now));
        self.void_earlier(|state| Some(self.layout.reset(state, tick)));
    }

    /// Grants nothing for `time` from `now`, waiters in `acquire` included. Then the bucket refills
    /// from empty; of an interval quota the next window begins, after the end of the present one. A
    /// shorter pause than the present one changes nothing.
    ///
    /// Earlier decisions are no longer refundable, and waiters in `acquire` reserve again.
    /// Reservations that last longer than the pause stay valid. Of a greedy quota, they can be
    /// given back, and are granted after the end; of an interval quota, the rest of a window that
    /// one has skipped may be granted before the end when it is given back.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(10));
    /// bucket.pause_at(Duration::ZERO, Duration::from_secs(60));
    /// let refused = bucket.try_acquire_at(Duration::from_secs(1), 1);
    /// assert_eq!(refused.retry_after(), Some(Duration::from_millis(59_100)));
    /// ```
    pub fn pause_at(&self, now: Duration, time: Duration) {
        let tick = |time| self.layout.tick(saturating_nanos(time));
        let (now, until) = (tick(now), tick(now.saturating_add(time)));
        self.void_earlier(|state| {
            let paused = self.layout.pause(state, now, until)?;
            if self.layout.is_greedy() {
                self.shared.paused_until.fetch_max(until, Ordering::Release);
            }
            Some(paused)
        });
    }

    /// Makes the bucket follow a clock that has stepped back to `now`, and keeps what was spent.
    ///
    /// A bucket never moves its time back by itself: while time that is passed in is behind the
    /// time of the last decision, the bucket does not refill. This call is the way out. Each call
    /// may admit what was spent once more than the clock alone would: at most one capacity, and what
    /// is reserved ahead of time. It also ends a pause. Decisions
    /// made until the clock has caught up with the earlier time are not refundable.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(1).with_capacity(10));
    /// let (now, hour) = (Duration::from_secs(5), Duration::from_secs(3600));
    /// assert!(bucket.try_acquire_at(hour, 10).is_allowed());
    /// assert_eq!(bucket.available_at(now), 0);
    /// bucket.rebase_at(now);
    /// assert_eq!(bucket.available_at(now + Duration::from_secs(3)), 3);
    /// ```
    pub fn rebase_at(&self, now: Duration) {
        let tick = self.layout.tick(saturating_nanos(now));
        self.void_earlier(|state| self.layout.rebase(state, tick));
    }

    /// Applies a transition that voids earlier decisions: it returns the next state, and the first
    /// stamp whose decisions are refundable, which is 0 when it voids none.
    fn void_earlier(&self, transition: impl Fn(State) -> Option<(State, u64)>) {
        // Voided also when the CAS fails and the transition then has nothing to change.
        let voided = Cell::new(false);
        self.update(|state| {
            let (next, refundable_from) = transition(state)?;
            self.shared
                .refundable_from
                .fetch_max(refundable_from, Ordering::Release);
            voided.set(true);
            Some(next)
        });
        #[cfg(feature = "tokio")]
        if voided.get() {
            self.shared.line.notify();
        }
    }

    /// Returns the word and its value.
    #[inline]
    pub(crate) fn word(&self) -> (&AtomicU64, u64) {
        (&self.shared.word, self.shared.word.load(Ordering::Relaxed))
    }

    /// Returns the position in one order of all buckets and slots: the address, and 0, which is no
    /// tag. A bucket does not move while a caller refers to it.
    #[inline(always)]
    pub(crate) fn position(&self) -> (u64, u64) {
        (core::ptr::from_ref(self).addr() as u64, 0)
    }

    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the origin of this bucket's decisions.
    #[inline(always)]
    pub(crate) fn origin(&self) -> Origin {
        let number = match self.shared.number.load(atomic::Ordering::Relaxed) {
            0 => self.draw_number(),
            number => number,
        };
        Origin::new(number as u64, 0)
    }

    #[cold]
    #[inline(never)]
    fn draw_number(&self) -> u32 {
        let (drawn, relaxed) = (origin::draw(), atomic::Ordering::Relaxed);
        match self
            .shared
            .number
            .compare_exchange(0, drawn, relaxed, relaxed)
        {
            Ok(_) => drawn,
            Err(number) => number,
        }
    }

    #[inline]
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns true when a charge that left this stamp is refundable: no reset has voided it.
    pub(crate) fn is_refundable(&self, stamp: u64) -> bool {
        // The bound only increases; the load of the word before this one orders it.
        stamp >= self.shared.refundable_from.load(Ordering::Acquire)
    }

    /// Returns true when a pause has moved the bucket to this stamp.
    fn is_paused_until(&self, stamp: u64) -> bool {
        // As above, ordered by the load of the word.
        stamp == self.shared.paused_until.load(Ordering::Acquire)
    }

    /// Decides on an attempt.
    ///
    /// Inlined so that unused fields of `Decision` are optimised out. For the same reason the
    /// decision is built after the CAS and from parts: a CAS waits for all earlier stores.
    #[inline(always)]
    pub(crate) fn decide(&self, attempt: Attempt<'_>) -> Decision {
        let mut word = self.shared.word.load(Ordering::Relaxed);
        let mut failures = 0;
        let (word, charged, outcome) = loop {
            match attempt.transition(word) {
                Transition::Unchanged(refilled, outcome) => break (refilled, 0, outcome),
                Transition::Write(next, charged) => match self.compare_exchange(word, next) {
                    Ok(()) => break (next, charged, Outcome::Allowed),
                    Err(_) => {
                        word = self.reload_after_backoff(failures);
                        failures += 1;
                    }
                },
            }
        };
        attempt
            .decision(self.layout.unpack(word), charged, outcome)
            .with_origin(self.origin())
    }

    /// Reloads the word after a failed CAS and an exponential backoff: 8 spins, doubling with each
    /// further failure, up to 64. A thread that retries immediately takes the cache line away from
    /// the thread that has just won it, and both then spend their time on moving it; two threads
    /// that back off have twice the total throughput. The backoff depends on no other thread, so
    /// decisions stay lock-free.
    #[cold]
    #[inline(never)]
    fn reload_after_backoff(&self, failures: u32) -> u64 {
        for _ in 0..8 << failures.min(3) {
            core::hint::spin_loop();
        }
        self.shared.word.load(Ordering::Relaxed)
    }

    /// Applies `transition` until the CAS succeeds, and returns true, or until `transition` returns
    /// `None`, and returns false.
    fn update(&self, transition: impl Fn(State) -> Option<State>) -> bool {
        let mut word = self.shared.word.load(Ordering::Acquire);
        while let Some(next) = transition(self.layout.unpack(word)) {
            match self.compare_exchange(word, self.layout.pack(next)) {
                Ok(()) => return true,
                Err(newer) => word = newer,
            }
        }
        false
    }

    #[inline(always)]
    fn compare_exchange(&self, word: u64, next: u64) -> Result<(), u64> {
        // Release on success, for a reset; acquire on failure, for a refund that retries.
        self.shared
            .word
            .compare_exchange_weak(word, next, Ordering::Release, Ordering::Acquire)
            .map(drop)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { spent, stamp } = self.layout.unpack(self.shared.word.load(Ordering::Relaxed));
        let mut bucket = f.debug_struct("Bucket");
        bucket
            .field("quota", &self.quota())
            .field("spent", &spent)
            .field("stamp", &stamp);
        #[cfg(feature = "tokio")]
        bucket.field("line", &self.shared.line);
        bucket.finish()
    }
}

#[cfg(feature = "tokio")]
impl<'a> Reservable for &'a Bucket {
    type Line = &'a Line;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    #[inline]
    fn is_queue_empty(self) -> bool {
        self.shared.line.is_empty()
    }

    fn line(self) -> Option<&'a Line> {
        Some(&self.shared.line)
    }

    fn take(self, cost: u32) -> Decision {
        self.try_acquire(cost)
    }

    /// The clock is read before the queue, which is in the cache line of the word: another core would
    /// take the line away meanwhile.
    #[inline(always)]
    fn take_unless_queued(self, cost: u32) -> Option<Decision> {
        let now_nanos = self.clock.nanos();
        let may_take = cost == 0 || self.shared.line.is_empty();
        may_take.then(|| self.decide(Attempt::immediate(&self.layout, now_nanos, cost)))
    }

    #[inline(always)]
    fn take_on_fast_path(self, cost: u32) -> Option<Decision> {
        self.take_unless_queued(cost)
    }

    fn reserve(self, cost: u32, max_wait: Duration) -> Decision {
        Bucket::reserve(self, cost, max_wait)
    }

    fn refund(self, decision: Decision) {
        self.refund_charge(&decision);
    }

    fn is_reserved(self, decision: &Decision) -> bool {
        self.is_refundable(decision.charge().0.stamp)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::{Bucket, Shared};
    use crate::cache_padded::CachePadded;

    /// The figure in the documentation of [`Bucket`]; the same with every set of features.
    #[test]
    fn a_bucket_is_two_blocks_of_128_bytes() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (256, 128));
        assert_eq!(size_of::<CachePadded<Shared>>(), 128);
    }
}
