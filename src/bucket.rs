//! One bucket: one atomic word, and the only loop that changes it.
//!
//! Orderings: the word carries no promise about other memory, so decisions are relaxed, and its one
//! order of modifications is all that the arithmetic needs. Only a reset has a second thing to
//! show, `refundable_from`: it is written before the word (release), and a refund reads the word
//! first (acquire). Charges in between are read-modify-writes and continue the release sequence, so
//! a refund that sees anything newer than the reset sees the bound as well.

use core::{cell::Cell, fmt, time::Duration};

use crate::{
    decision::{Decision, Outcome},
    holes::{Hole, Holes},
    quota::Quota,
    request::{Request, Step, nanos},
    state::{Layout, State},
    sync::{AtomicU64, Ordering, const_fn},
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
/// The methods that end in `_at` take the time as an argument: how long ago some fixed moment of
/// the caller's was, always the same one for one bucket. The others (feature `std`) read the
/// process-wide clock. Mix them on one bucket only if you must: two origins are two clocks, and the
/// bucket goes by the later one.
///
/// In any time the bucket admits at most its capacity and what came back in that time, to within
/// [`Quota::resolution`], whatever threads, clocks and refunds do.
#[doc(alias = "RateLimiter")]
pub struct Bucket {
    word: Apart<AtomicU64>,
    layout: Layout,
    /// Decisions whose stamp is older were made before a reset, and give nothing back.
    refundable_from: AtomicU64,
    quota: Quota,
    holes: Holes<4>,
}

/// In cache lines of its own: two, since processors fetch pairs. The word moves from core to core,
/// and what a decision has to know before it looks at the word must not move with it.
#[repr(align(128))]
struct Apart<T>(T);

impl Bucket {
    const_fn! {
        /// A full bucket.
        #[must_use]
        pub const fn new(quota: Quota) -> Bucket {
            let (word, refundable_from) = (Apart(AtomicU64::new(0)), AtomicU64::new(0));
            Bucket { word, layout: Layout::of(&quota), refundable_from, quota, holes: Holes::new() }
        }
    }

    /// The quota the bucket was made with.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes `cost` tokens at time `now`, or none.
    ///
    /// A cost of 0 takes nothing, is always allowed, and shows the state. A cost above the capacity
    /// is refused as [`Outcome::CostAboveCapacity`](crate::Outcome::CostAboveCapacity). A refusal
    /// writes nothing.
    #[inline]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire_at(&self, now: Duration, cost: u32) -> Decision {
        self.decide(Request::take(&self.layout, nanos(now), cost))
    }

    /// Takes `cost` tokens at time `now`, ahead of time if need be: the caller may use them after
    /// [`Decision::wait`], which is at most `max_wait`. Whoever does not want them any more hands
    /// the decision to [`Bucket::refund`].
    ///
    /// This is what `acquire` (feature `tokio`) is made of, for other runtimes and for threads.
    /// Reservations are ready in the order they were made, but for one that takes the place of
    /// somebody who left. What is taken ahead of time is bounded by [`Quota::with_debt`].
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Outcome, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(10));
    /// let (now, second) = (Duration::ZERO, Duration::from_secs(1));
    /// assert_eq!(bucket.reserve_at(now, 10, second).wait(), Duration::ZERO);
    /// assert_eq!(bucket.reserve_at(now, 10, second).wait(), second);
    /// assert_eq!(bucket.reserve_at(now, 1, second).outcome(), Outcome::DeadlineTooSoon);
    /// ```
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve_at(&self, now: Duration, cost: u32, max_wait: Duration) -> Decision {
        self.queue(Request::reserve(&self.layout, nanos(now), cost, max_wait))
    }

    /// Whole tokens there at time `now`.
    #[must_use]
    pub fn available_at(&self, now: Duration) -> u32 {
        self.try_acquire_at(now, 0).remaining()
    }

    /// Makes the bucket full. Decisions from before can no longer be refunded, and whoever still
    /// waits on one made by `acquire` queues again. The first token taken after a reset may come
    /// back a step ([`Quota::resolution`]) later.
    pub fn reset_at(&self, now: Duration) {
        let tick = self.layout.tick(nanos(now));
        self.update(|state| {
            let (full, refundable_from) = self.layout.reset(state, tick);
            self.refundable_from
                .fetch_max(refundable_from, Ordering::Release);
            Some(full)
        });
    }

    /// Undoes a decision: gives its tokens back, as far as they are still owed, and says whether
    /// any were.
    ///
    /// What has come back by refill in the meantime is not given a second time: refunded at once a
    /// charge is given back whole, after a later charge less what would have come back between the
    /// two. One that was reserved ahead of time is given back whole if it is the last in the queue;
    /// from the middle, its place goes to the next who comes to wait and asks for no more. **A
    /// decision may be refunded once, and only to the bucket that made it.**
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_minute(10));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 4);
    /// assert!(bucket.refund(decision));
    /// assert_eq!(bucket.available_at(Duration::ZERO), 10);
    /// ```
    pub fn refund(&self, decision: Decision) -> bool {
        let (sold, charged) = decision.charge();
        let given = self.update(|state| match self.counts(sold.stamp) {
            true => self.layout.refund(state, sold, charged),
            false => None,
        });
        given || self.leave(sold, charged)
    }

    /// Leaves a hole in the queue, and says whether it can still be sold.
    fn leave(&self, sold: State, charged: u64) -> bool {
        let state = self.layout.unpack(self.word.0.load(Ordering::Acquire));
        let hole = self
            .layout
            .hole(state, sold, charged)
            .filter(|_| self.counts(sold.stamp));
        if let Some(hole) = hole {
            self.holes.add(0, hole, self.layout.position(state.stamp));
        }
        hole.is_some()
    }

    /// Whether a charge that left this stamp still counts: no reset has wiped it away.
    pub(crate) fn counts(&self, stamp: u64) -> bool {
        // Only ever raised; the word, read before, orders it.
        stamp >= self.refundable_from.load(Ordering::Acquire)
    }

    /// Decides for one who would wait: in a hole that somebody has left, or at the end.
    pub(crate) fn queue(&self, request: Request<'_>) -> Decision {
        let sell = |hole: Hole| {
            let sold = Cell::new(None);
            self.update(|state| {
                let (next, now_sold) = request
                    .resell(state, hole)
                    .filter(|_| self.counts(hole.stamp))?;
                sold.set(Some(now_sold));
                Some(next)
            })
            .then_some(sold.get())
            .flatten()
        };
        self.holes
            .sell(0, &request, sell)
            .unwrap_or_else(|| self.decide(request))
    }

    /// How the word is divided.
    #[inline]
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Made part of its callers, where the compiler drops what they do not ask of the decision.
    /// Hence the decision is put together after the swap, and out of parts: a swap waits for
    /// everything that was stored before it.
    #[inline(always)]
    pub(crate) fn decide(&self, request: Request<'_>) -> Decision {
        let mut word = self.word.0.load(Ordering::Relaxed);
        let mut lost = 0;
        let (word, charged, outcome) = loop {
            match request.step(word) {
                Step::Answer(settled, outcome) => break (settled, 0, outcome),
                Step::Write(next, charged) => match self.swap(word, next) {
                    Ok(()) => break (next, charged, Outcome::Allowed),
                    Err(_) => {
                        word = self.after_pause(lost);
                        lost += 1;
                    }
                },
            }
        };
        Decision::new(&request, self.layout.unpack(word), charged, outcome)
    }

    /// The word, a moment after a swap was lost: 8 spins, and twice as many after each further
    /// loss, up to 64. Who tries again at once takes the cache line away from the one who has just
    /// won it, and both then spend their time on moving it; two threads that pause do twice as much
    /// together. Nobody is waited for: the pause ends whatever others do.
    #[cold]
    #[inline(never)]
    fn after_pause(&self, lost: u32) -> u64 {
        for _ in 0..8 << lost.min(3) {
            core::hint::spin_loop();
        }
        self.word.0.load(Ordering::Relaxed)
    }

    /// Applies `transition` until it takes, or declines; says whether it took.
    fn update(&self, transition: impl Fn(State) -> Option<State>) -> bool {
        let mut word = self.word.0.load(Ordering::Acquire);
        while let Some(next) = transition(self.layout.unpack(word)) {
            match self.swap(word, self.layout.pack(next)) {
                Ok(()) => return true,
                Err(newer) => word = newer,
            }
        }
        false
    }

    #[inline(always)]
    fn swap(&self, word: u64, next: u64) -> Result<(), u64> {
        // On success release, for the sake of a reset; on failure acquire, for the sake of a refund
        // that tries again.
        self.word
            .0
            .compare_exchange_weak(word, next, Ordering::Release, Ordering::Acquire)
            .map(drop)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { spent, stamp } = self.layout.unpack(self.word.0.load(Ordering::Relaxed));
        f.debug_struct("Bucket")
            .field("quota", &self.quota)
            .field("spent", &spent)
            .field("stamp", &stamp)
            .finish()
    }
}
