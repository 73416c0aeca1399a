//! Bucket: one atomic word, and the CAS loops that change it.
//!
//! Orderings: the word publishes no other memory, so decisions are relaxed. The modification order
//! of the word is all that the arithmetic needs. Only a reset publishes a second value,
//! `refundable_from`: a reset raises it before it stores the word (release), and a refund loads the
//! word first (acquire). Charges in between are read-modify-writes and continue the release
//! sequence, so a refund that sees any word newer than the reset sees the bound as well.

use core::{
    cell::Cell,
    fmt,
    sync::atomic::{self, AtomicU32},
    time::Duration,
};

#[cfg(feature = "tokio")]
use tokio::time::Instant;

#[cfg(feature = "std")]
use crate::clock::process_nanos;
use crate::{
    attempt::{Attempt, Transition},
    cache_padded::CachePadded,
    decision::{Decision, DecisionView, Outcome, RefundError},
    duration::saturating_nanos,
    holes::{Hole, Holes},
    origin::{self, Origin},
    quota::Quota,
    state::{Layout, State},
    sync::{AtomicU64, Ordering, const_fn},
};
#[cfg(feature = "tokio")]
use crate::{
    decision::Refused,
    wait::{self, Reservable},
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
/// Methods without a suffix (feature `std`) read the process-wide clock. Methods that end in `_at`
/// take the time as an argument: the time since an origin that the caller chooses, the same for all
/// calls on one bucket. Mixing both kinds on one bucket mixes two clocks, and the bucket follows
/// the later one.
///
/// In any time span the bucket admits at most its capacity plus the refill of that span, to within
/// [`Quota::resolution`], regardless of threads, clocks and refunds.
///
/// A bucket is 512 bytes and allocates nothing on the heap.
#[doc(alias = "RateLimiter")]
pub struct Bucket {
    /// Padded: the word moves between cores, and the layout, which a decision reads before the
    /// word, must not move with it (false sharing).
    word: CachePadded<AtomicU64>,
    layout: Layout,
    /// Decisions with an older stamp were made before a reset and are not refundable.
    refundable_from: AtomicU64,
    quota: Quota,
    /// Identifies the bucket in its decisions. Drawn by the first one, since a constant cannot draw
    /// a number: 0 until then.
    number: AtomicU32,
    holes: Holes<4>,
}

impl Bucket {
    const_fn! {
        /// Creates a full bucket.
        #[must_use]
        pub const fn new(quota: Quota) -> Bucket {
            Bucket {
                word: CachePadded::new(AtomicU64::new(0)),
                layout: quota.layout(),
                refundable_from: AtomicU64::new(0),
                quota,
                number: AtomicU32::new(0),
                holes: Holes::new(),
            }
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
        self.decide(Attempt::immediate(&self.layout, process_nanos(), cost))
    }

    /// Takes `cost` tokens, waiting in FIFO order until they are available.
    ///
    /// A dropped future gives its tokens or its reservation back: see [`Bucket::refund`].
    ///
    /// # Errors
    /// When `cost` is above the capacity, or waiters have used up the quota's
    /// [debt](Quota::with_debt): immediately, with nothing taken.
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
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire(&self, cost: u32) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait::acquire(self, cost, None)
    }

    /// Takes `cost` tokens like [`Bucket::acquire`], but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`Bucket::acquire`], and when the tokens are not available by the deadline:
    /// immediately, with nothing taken.
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
    pub fn acquire_by(
        &self,
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait::acquire(self, cost, Some(deadline))
    }

    /// Reserves `cost` tokens that are available within `max_wait`; see [`Bucket::reserve_at`].
    #[cfg(feature = "std")]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve(&self, cost: u32, max_wait: Duration) -> Decision {
        self.decide_reservation(Attempt::reservation(
            &self.layout,
            process_nanos(),
            cost,
            max_wait,
        ))
    }

    /// Returns the number of whole tokens available.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available_at(Duration::from_nanos(process_nanos()))
    }

    /// Undoes a decision: gives back the tokens that are still owed, and returns true when there
    /// were any.
    ///
    /// Tokens that have been refilled in the meantime are not given back a second time. A charge
    /// refunded immediately is given back whole; after a later charge, the refill between the two
    /// charges is subtracted. A reservation ahead of time is given back whole if it is the last in
    /// the queue. From the middle of the queue, its interval goes to the next waiter that needs at
    /// most as many tokens.
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
        let given = self.update(|state| match self.is_refundable(sold.stamp) {
            true => self.layout.refund(state, sold, charged),
            false => None,
        });
        given || self.leave_hole(sold, charged)
    }

    /// Fills the bucket; see [`Bucket::reset_at`].
    #[cfg(feature = "std")]
    pub fn reset(&self) {
        self.reset_at(Duration::from_nanos(process_nanos()));
    }

    /// Returns the quota of the bucket.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
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
    /// threads. Reservations become ready in the order in which they were made, except that a
    /// reservation may fill an interval that an earlier waiter gave back. [`Quota::with_debt`]
    /// bounds the number of tokens taken ahead of time.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Outcome, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(10));
    /// let (now, second) = (Duration::ZERO, Duration::from_secs(1));
    /// assert_eq!(bucket.reserve_at(now, 10, second).wait(), Duration::ZERO);
    /// assert_eq!(bucket.reserve_at(now, 10, second).wait(), second);
    /// assert_eq!(bucket.reserve_at(now, 1, second).outcome(), Outcome::DeadlineTooSoon);
    /// ```
    #[must_use = "the decision states whether the request is allowed"]
    pub fn reserve_at(&self, now: Duration, cost: u32, max_wait: Duration) -> Decision {
        self.decide_reservation(Attempt::reservation(
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
    pub fn reset_at(&self, now: Duration) {
        let tick = self.layout.tick(saturating_nanos(now));
        self.update(|state| {
            let (full, refundable_from) = self.layout.reset(state, tick);
            self.refundable_from
                .fetch_max(refundable_from, Ordering::Release);
            Some(full)
        });
    }

    /// Returns the origin of this bucket's decisions.
    #[inline(always)]
    fn origin(&self) -> Origin {
        let number = match self.number.load(atomic::Ordering::Relaxed) {
            0 => self.draw_number(),
            number => number,
        };
        Origin::new(number as u64, 0)
    }

    #[cold]
    #[inline(never)]
    fn draw_number(&self) -> u32 {
        let (drawn, relaxed) = (origin::draw(), atomic::Ordering::Relaxed);
        match self.number.compare_exchange(0, drawn, relaxed, relaxed) {
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
        stamp >= self.refundable_from.load(Ordering::Acquire)
    }

    /// Decides on an attempt.
    ///
    /// Inlined so that unused fields of `Decision` are optimised out. For the same reason the
    /// decision is built after the CAS and from parts: a CAS waits for all earlier stores.
    #[inline(always)]
    pub(crate) fn decide(&self, attempt: Attempt<'_>) -> Decision {
        let mut word = self.word.load(Ordering::Relaxed);
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

    /// Decides on a reservation: in a hole that an earlier waiter left, or at the end of the queue.
    pub(crate) fn decide_reservation(&self, attempt: Attempt<'_>) -> Decision {
        let sell = |hole: Hole| {
            let sold = Cell::new(None);
            self.update(|state| {
                let (next, now_sold) = attempt
                    .resell(state, hole)
                    .filter(|_| self.is_refundable(hole.stamp))?;
                sold.set(Some(now_sold));
                Some(next)
            })
            .then_some(sold.get())
            .flatten()
        };
        self.holes
            .sell(0, &attempt, sell)
            .map(|decision| decision.with_origin(self.origin()))
            .unwrap_or_else(|| self.decide(attempt))
    }

    /// Leaves a hole in the queue, and returns true when it can still be sold.
    fn leave_hole(&self, sold: State, charged: u64) -> bool {
        let state = self.layout.unpack(self.word.load(Ordering::Acquire));
        let hole = self
            .layout
            .hole(state, sold, charged)
            .filter(|_| self.is_refundable(sold.stamp));
        if let Some(hole) = hole {
            self.holes.add(0, hole, self.layout.position(state.stamp));
        }
        hole.is_some()
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
        self.word.load(Ordering::Relaxed)
    }

    /// Applies `transition` until the CAS succeeds, and returns true, or until `transition` returns
    /// `None`, and returns false.
    fn update(&self, transition: impl Fn(State) -> Option<State>) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
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
        self.word
            .compare_exchange_weak(word, next, Ordering::Release, Ordering::Acquire)
            .map(drop)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { spent, stamp } = self.layout.unpack(self.word.load(Ordering::Relaxed));
        f.debug_struct("Bucket")
            .field("quota", &self.quota)
            .field("spent", &spent)
            .field("stamp", &stamp)
            .finish()
    }
}

#[cfg(feature = "tokio")]
impl Reservable for &Bucket {
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
    use super::Bucket;

    /// The figure in the documentation of [`Bucket`]; the same with every set of features.
    #[test]
    fn a_bucket_is_512_bytes() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (512, 128));
    }
}
