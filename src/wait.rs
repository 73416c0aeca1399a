//! Waiting for tokens: `acquire` on a bucket and on a key.
//!
//! By reservation: one swap takes the tokens ahead of time, one sleep lasts until they are there.
//! So order of arrival is order of service, heavy requests are not starved by light ones, nobody is
//! woken in vain, and there is no queue in memory.
//!
//! **What a waiter who leaves gives up.** A future that is dropped gives its reservation back: at
//! once when it was the last in the queue. From the middle it leaves a hole, which the next one who
//! comes to wait and asks for no more gets as his place (see the module `holes`); if nobody comes
//! in time, the tokens lapse, and those behind are neither earlier nor later for it. A deadline
//! known beforehand (`acquire_by`) never makes a hole: who cannot be served in time is refused at
//! once, with nothing taken.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    bucket::Bucket,
    decision::{Decision, Refused},
};

/// What a wait is lengthened by, since the sleeper's clock is not the bucket's: a fraction of 2⁻¹⁴,
/// some 61 parts in a million. The two were seen 2 parts in a million apart, and 16 in a noisy
/// first second.
const CLOCK_MARGIN: u32 = 1 << 14;

/// As long as anybody would wait: the clock's horizon is nearer.
const FOREVER: Duration = Duration::MAX;

impl Bucket {
    /// Takes `cost` tokens, and waits in turn until they are there.
    ///
    /// A dropped future gives its tokens back, or its place in the queue: see [`Bucket::refund`].
    ///
    /// # Errors
    /// When `cost` is above the capacity, or so much is waiting already that the quota's
    /// [debt](crate::Quota::with_debt) is used up: at once, with nothing taken.
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
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire(&self, cost: u32) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait_for(BucketTurn(self), cost, None)
    }

    /// Like [`Bucket::acquire`], for one who has until `deadline`.
    ///
    /// # Errors
    /// When the tokens cannot be had by then, too: at once, with nothing taken.
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
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by(
        &self,
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send {
        wait_for(BucketTurn(self), cost, Some(deadline))
    }
}

/// Where a turn is taken: a bucket, or a key of a table.
pub(crate) trait Turn: Copy {
    fn reserve(self, cost: u32, max_wait: Duration) -> Decision;
    fn refund(self, decision: Decision) -> bool;
    /// Whether the reservation still counts.
    fn holds(self, decision: Decision) -> bool;
}

#[derive(Clone, Copy)]
struct BucketTurn<'a>(&'a Bucket);

impl Turn for BucketTurn<'_> {
    fn reserve(self, cost: u32, max_wait: Duration) -> Decision {
        self.0.reserve(cost, max_wait)
    }

    fn refund(self, decision: Decision) -> bool {
        self.0.refund(decision)
    }

    fn holds(self, decision: Decision) -> bool {
        self.0.counts(decision.charge().0.stamp)
    }
}

pub(crate) async fn wait_for(
    turn: impl Turn,
    cost: u32,
    deadline: Option<Instant>,
) -> Result<Decision, Refused> {
    loop {
        let max_wait = deadline.map_or(FOREVER, |deadline| {
            without_margin(deadline.saturating_duration_since(Instant::now()))
        });
        let reserved = Reserved {
            turn,
            decision: turn.reserve(cost, max_wait).ok()?,
        };
        let wait = reserved.decision.wait();
        if !wait.is_zero() {
            sleep(with_margin(wait)).await;
            if !turn.holds(reserved.decision) {
                // Reset in the meantime: the bucket was made full without this charge, so queue
                // again.
                continue;
            }
        }
        return Ok(reserved.keep());
    }
}

/// A reservation, given back unless it is kept.
struct Reserved<T: Turn> {
    turn: T,
    decision: Decision,
}

impl<T: Turn> Reserved<T> {
    fn keep(self) -> Decision {
        let decision = self.decision;
        std::mem::forget(self);
        decision
    }
}

impl<T: Turn> Drop for Reserved<T> {
    fn drop(&mut self) {
        self.turn.refund(self.decision);
    }
}

/// As long as a sleeper with another clock has to sleep.
pub(crate) fn with_margin(wait: Duration) -> Duration {
    wait.saturating_add(wait / CLOCK_MARGIN)
}

/// The longest wait that still ends within `time`, margin included.
fn without_margin(time: Duration) -> Duration {
    time - time / CLOCK_MARGIN
}
