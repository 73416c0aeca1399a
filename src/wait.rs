//! Asynchronous waiting for tokens, shared by buckets and keys.
//!
//! **Only the head of the line holds a reservation.** A caller that finds the queue empty takes at
//! once. Otherwise, or when it is refused, it waits for the one permit of a FIFO semaphore. The
//! holder of the permit reserves its tokens in the word, sleeps until they are ready, and hands the
//! permit on. Waiters are served in the order of arrival, and large costs are not starved by small
//! ones.
//!
//! **Cancellation.** At most one reservation is outstanding, so it is the last one sold, and its
//! refund is exact: a waiter that gives up loses no token, wherever it stood in the line.
//!
//! **Between two heads** there is a gap of one wake-up, from the release of the permit until the
//! next waiter is polled. Tokens that refill in this gap may go to `try_acquire`, which does not
//! queue. The next head then reserves behind them, so it is late by at most the refill of its own
//! cost: a stream of small costs cannot starve it.
//!
//! **A waiter that is neither polled nor dropped** holds up the line, as when a `select!` runs the
//! body of another branch. To hand the permit on for it would take a timer task.
//!
//! **Changes.** A reset, a pause, and a change of the quota or of a rule notify the head. They void
//! its reservation, or it gives it back, and it reserves again under the new terms.
//!
//! **Deadlines.** A caller with a deadline is refused at once when the tokens queued ahead of it,
//! by their sum, cannot be refilled in time. That is an estimate: callers ahead may leave, and
//! others may take tokens in the gap between two heads.

mod acquire;
mod blocking;
mod jitter;
mod line;
mod lines;
mod race;
mod reservable;
mod timer;

use std::{future::Future, time::Duration};

use acquire::{Acquire, Call};
pub(crate) use blocking::{ThreadTimer, block_on};
pub(crate) use jitter::random_delay;
pub(crate) use line::Line;
pub(crate) use lines::{KeyLine, Lines};
pub(crate) use race::{Winner, race};
pub(crate) use reservable::Reservable;
pub(crate) use timer::{Timer, TokioTimer};

use crate::decision::{Decision, Outcome, Refused};

/// Maximum wait without a deadline; the horizon of the bucket's clock is nearer.
const FOREVER: Duration = Duration::MAX;

/// Takes `cost` tokens of `target`, and waits for them at most as long as `max_wait`.
#[inline]
pub(crate) fn acquire<T: Reservable, W: Timer>(
    target: T,
    timer: W,
    cost: u32,
    max_wait: Option<Duration>,
) -> impl Future<Output = Result<Decision, Refused>> + use<T, W> {
    let call = Call {
        target,
        timer,
        cost,
        max_wait,
    };
    let begin = |call: Call<T, W>| {
        acquire_and(
            call.target,
            call.timer,
            call.cost,
            call.max_wait,
            |decision| decision,
        )
    };
    Acquire::First { call, begin }
}

/// Takes `cost` tokens of `target` in the order of arrival, and waits for them at most as long as
/// `max_wait`. Calls `then` with them at the head of the line: what it refunds is the last charge, and
/// so is given back exactly.
pub(crate) async fn acquire_and<R>(
    target: impl Reservable,
    timer: impl Timer,
    cost: u32,
    max_wait: Option<Duration>,
    then: impl FnOnce(Decision) -> R,
) -> Result<R, Refused> {
    let now = target.take(0).view();
    if cost > now.limit() {
        return Err(Refused::new(now.refusing(cost, Outcome::CostAboveCapacity)));
    }
    let Some(line) = target.line() else {
        return Err(Refused::new(now.refusing(cost, Outcome::QueueFull)));
    };
    let (_queued, ahead) = line.enqueue(cost.into());
    let clock = target.clock();
    let (_permit, deadline) = match max_wait {
        None => (line.permit().await, None),
        Some(max_wait) if now.wait_behind(ahead, cost) > max_wait => {
            return Err(Refused::at_deadline(now, cost));
        }
        Some(max_wait) => {
            let deadline = clock.now().saturating_add(max_wait);
            match race(line.permit(), clock.sleep_until(timer, deadline)).await {
                Winner::First(permit) => (permit, Some(deadline)),
                Winner::Second(()) => {
                    return Err(Refused::at_deadline(target.take(0).view(), cost));
                }
            }
        }
    };
    let head = Head {
        target,
        timer,
        line: &line,
    };
    Ok(then(head.acquire(cost, deadline).await?))
}

/// Takes `cost` tokens of `target`, and waits for a random time of at most `max_jitter` afterwards.
/// The next waiter is served meanwhile. When dropped then, the charge is refunded.
pub(crate) async fn acquire_with_jitter(
    target: impl Reservable,
    timer: impl Timer,
    cost: u32,
    max_jitter: Duration,
) -> Result<Decision, Refused> {
    let charge = ChargeGuard::new(target, acquire(target, timer, cost, None).await?);
    let clock = target.clock();
    let end = clock.now().saturating_add(random_delay(max_jitter));
    clock.sleep_until(timer, end).await;
    Ok(charge.keep())
}

/// Takes `amount` tokens of `target`, in pieces of at most its capacity, and lets no other waiter
/// in between. When dropped, the pieces already taken stay spent.
pub(crate) async fn acquire_all(
    target: impl Reservable,
    timer: impl Timer,
    amount: u64,
) -> Result<(), Refused> {
    let now = target.take(0).view();
    let Some(line) = target.line() else {
        return Err(Refused::new(now.refusing(
            u32::try_from(amount).unwrap_or(u32::MAX),
            Outcome::QueueFull,
        )));
    };
    let (mut queued, _) = line.enqueue(amount);
    let _permit = line.permit().await;
    let head = Head {
        target,
        timer,
        line: &line,
    };
    while let Some(piece) = queued.next_piece(target.take(0).limit()) {
        queued.settle(piece, head.acquire(piece, None).await)?;
    }
    Ok(())
}

/// Waiter at the head of the line: it holds the permit.
struct Head<'l, T, W> {
    target: T,
    timer: W,
    line: &'l Line,
}

impl<T: Reservable, W: Timer> Head<'_, T, W> {
    /// Reserves `cost` tokens, and waits until they are available.
    async fn acquire(&self, cost: u32, deadline: Option<Duration>) -> Result<Decision, Refused> {
        let (target, timer) = (self.target, self.timer);
        let clock = target.clock();
        loop {
            // Before the reservation, so that no change after it is missed.
            let changed = self.line.changed();
            let left = deadline.map(|deadline| deadline.saturating_sub(clock.now()));
            let decision = target.reserve(cost, left.unwrap_or(FOREVER));
            match decision.outcome() {
                Outcome::Allowed if decision.wait().is_zero() => return Ok(decision),
                Outcome::Allowed => {
                    let ready_at = decision.decided_at().saturating_add(decision.wait());
                    let reservation = ReservationGuard::new(target, self.line, decision);
                    // After a change, the reservation is given back if it is still valid, and made
                    // again. It need not be checked before: a reset that this reservation was made
                    // beside, and that voids it, notifies after it.
                    if let Winner::First(()) =
                        race(clock.sleep_until(timer, ready_at), changed).await
                        && let Some(decision) = reservation.keep()
                    {
                        return Ok(decision);
                    }
                }
                // Reservations made without this line are ahead, or the key is paused.
                Outcome::Refused => {
                    let wait = decision.retry_after().unwrap_or(FOREVER);
                    if left.is_some_and(|left| wait > left) {
                        return Err(Refused::at_deadline(decision.view(), cost));
                    }
                    let retry_at = decision.decided_at().saturating_add(wait);
                    race(changed, clock.sleep_until(timer, retry_at)).await;
                }
                _ => return decision.ok(),
            }
        }
    }
}

/// Drop guard that refunds a reservation of the head unless it is kept.
struct ReservationGuard<'l, T: Reservable> {
    line: &'l Line,
    charge: ChargeGuard<T>,
}

impl<'l, T: Reservable> ReservationGuard<'l, T> {
    fn new(target: T, line: &'l Line, decision: Decision) -> ReservationGuard<'l, T> {
        line.set_reserved(decision.cost());
        ReservationGuard {
            line,
            charge: ChargeGuard::new(target, decision),
        }
    }

    /// Returns the reservation, if it is still valid.
    fn keep(mut self) -> Option<Decision> {
        let target = self.charge.target;
        self.charge
            .decision
            .take_if(|decision| target.is_reserved(decision))
    }
}

impl<T: Reservable> Drop for ReservationGuard<'_, T> {
    fn drop(&mut self) {
        self.line.set_reserved(0);
    }
}

/// Drop guard that refunds a charge unless it is kept.
struct ChargeGuard<T: Reservable> {
    target: T,
    decision: Option<Decision>,
}

impl<T: Reservable> ChargeGuard<T> {
    fn new(target: T, decision: Decision) -> ChargeGuard<T> {
        ChargeGuard {
            target,
            decision: Some(decision),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "only this takes the decision, and it consumes the guard"
    )]
    fn keep(mut self) -> Decision {
        self.decision.take().expect("a charge is kept once")
    }
}

impl<T: Reservable> Drop for ChargeGuard<T> {
    fn drop(&mut self) {
        if let Some(decision) = self.decision.take() {
            self.target.refund(decision);
        }
    }
}
