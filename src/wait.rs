//! Asynchronous waiting for tokens, shared by buckets and keys.
//!
//! Waiting uses a reservation: one CAS takes the tokens ahead of time, and one sleep lasts until
//! they are available. Waiters are therefore served in FIFO order, large requests are not starved
//! by small ones, there are no spurious wake-ups, and there is no queue in memory.
//!
//! **Cancellation.** A dropped future gives its reservation back: immediately when it was the last
//! in the queue. From the middle of the queue it leaves a hole, and the next waiter that needs at
//! most as many tokens gets that interval (see the module `holes`). If no such waiter arrives in
//! time, the tokens lapse, and the wait of later waiters does not change. A deadline known in
//! advance (`acquire_by`) never leaves a hole: a waiter that cannot be served in time is refused
//! immediately, with nothing taken.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    clock_margin::{CLOCK_MARGIN, with_margin},
    decision::{Decision, Refused},
};

/// Maximum wait without a deadline; the horizon of the bucket's clock is nearer.
const FOREVER: Duration = Duration::MAX;

/// A bucket, or a key of a table, whose tokens can be reserved ahead of time.
pub(crate) trait Reservable: Copy {
    fn reserve(self, cost: u32, max_wait: Duration) -> Decision;
    fn refund(self, decision: Decision);
    /// Returns true when the reservation is still valid: no reset has voided it.
    fn is_reserved(self, decision: &Decision) -> bool;
}

/// Reserves `cost` tokens of `target` and sleeps until they are available.
pub(crate) async fn acquire(
    target: impl Reservable,
    cost: u32,
    deadline: Option<Instant>,
) -> Result<Decision, Refused> {
    loop {
        let max_wait = deadline.map_or(FOREVER, |deadline| {
            without_margin(deadline.saturating_duration_since(Instant::now()))
        });
        let decision = target.reserve(cost, max_wait).ok()?;
        let wait = decision.wait();
        if wait.is_zero() {
            return Ok(decision);
        }
        let reservation = ReservationGuard {
            target,
            decision: Some(decision),
        };
        sleep(with_margin(wait)).await;
        if let Some(decision) = reservation.keep() {
            return Ok(decision);
        }
        // A reset has filled the bucket without this charge, so queue again.
    }
}

/// Drop guard that refunds a reservation unless it is kept.
struct ReservationGuard<T: Reservable> {
    target: T,
    decision: Option<Decision>,
}

impl<T: Reservable> ReservationGuard<T> {
    /// Returns the reservation, if it is still valid.
    fn keep(mut self) -> Option<Decision> {
        let target = self.target;
        self.decision
            .take_if(|decision| target.is_reserved(decision))
    }
}

impl<T: Reservable> Drop for ReservationGuard<T> {
    fn drop(&mut self) {
        if let Some(decision) = self.decision.take() {
            self.target.refund(decision);
        }
    }
}

/// Returns the longest wait that ends within `time`, margin included.
fn without_margin(time: Duration) -> Duration {
    time - time / CLOCK_MARGIN
}
