//! Waiting for tokens of a key in Redis.
//!
//! **Polling.** Nothing is reserved in Redis: a process that crashes while it waits would leave a
//! reservation that no client uses, and a cancelled waiter would need a message to release its own.
//! So a waiter sleeps for the `retry_after` of its refusal and tries again. Between processes, the
//! first request after the tokens arrive gets them.
//!
//! **FIFO within the process** ([`line`](super::line)): only the head of a key's line sends
//! requests, and the other waiters wait for its permit. So a key costs Redis about two calls per
//! served waiter, however many wait.
//!
//! **Changes.** A reset or a pause by this process, and a change of the shared settings, notify the
//! head, and it tries again. No message announces those by another process or the end of an outage:
//! the head polls at least once a second.
//!
//! **Deadlines.** A caller with a deadline is refused at once when the tokens queued ahead of it,
//! by their sum, cannot be refilled in time. That is an estimate from the last decision that the
//! head received: callers ahead may leave, and other processes take tokens as well.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{inner::Inner, line::RedisLine};
use crate::{
    clock_margin::with_margin,
    decision::{Decision, DecisionSource, Outcome, Refused},
    wait::{race, random_delay},
};

/// Result of the wait, or the pause before the next poll.
type Next = ControlFlow<Result<Decision, Refused>, Duration>;

/// Longest poll interval, so that waiters notice events that make tokens available earlier.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest poll interval, however fast the refill.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Takes `cost` tokens and waits until they are available, or until the deadline.
pub(super) async fn acquire(
    inner: &Inner,
    key: &[u8],
    cost: u32,
    deadline: Option<Instant>,
) -> Result<Decision, Refused> {
    if cost == 0 {
        return inner.try_acquire(key, 0).await.ok();
    }
    // Without waiters, no waiter is overtaken. A cost above the capacity takes nothing from them.
    if inner.lines.is_empty(key) || cost > capacity(inner, key) {
        let decision = inner.try_acquire(key, cost).await;
        if let Break(result) = next(inner, key, decision, deadline) {
            return result;
        }
    }
    let Some(line) = inner.lines.join(key.into()) else {
        return Err(queue_full(inner, key, cost).await);
    };
    let (_queued, ahead) = line.as_ref().enqueue(cost.into());
    let _permit = match deadline {
        None => line.as_ref().permit().await,
        Some(deadline) => {
            if let Some((last, age)) = line.last_decision()
                && last.outcome() != Outcome::Unavailable
                && last.wait_behind(ahead, cost).saturating_sub(age)
                    > deadline.saturating_duration_since(Instant::now())
            {
                return Err(Refused::at_deadline(last, cost));
            }
            match timeout_at(deadline, line.as_ref().permit()).await {
                Ok(permit) => permit,
                Err(_) => {
                    let last = match line.last_decision() {
                        Some((last, _)) => last,
                        None => inner.try_acquire(key, 0).await.view(),
                    };
                    return Err(Refused::at_deadline(last, cost));
                }
            }
        }
    };
    let head = Head {
        inner,
        key,
        line: &line,
    };
    head.acquire(cost, deadline).await
}

/// Takes `cost` tokens, and waits for a random time of at most `max_jitter` afterwards. The next
/// waiter is served meanwhile. When dropped then, the charge is refunded in the background.
pub(super) async fn acquire_with_jitter(
    inner: &Arc<Inner>,
    key: &[u8],
    cost: u32,
    max_jitter: Duration,
) -> Result<Decision, Refused> {
    let charge = ChargeGuard {
        inner,
        key,
        decision: Some(acquire(inner, key, cost, None).await?),
    };
    sleep(random_delay(max_jitter)).await;
    Ok(charge.keep())
}

/// Takes `amount` tokens in pieces of at most the capacity, and lets no other waiter of this process
/// in between. When dropped, the pieces already taken stay spent.
pub(super) async fn acquire_all(inner: &Inner, key: &[u8], amount: u64) -> Result<(), Refused> {
    let Some(line) = inner.lines.join(key.into()) else {
        let cost = u32::try_from(amount).unwrap_or(u32::MAX);
        return Err(queue_full(inner, key, cost).await);
    };
    let (mut queued, _) = line.as_ref().enqueue(amount);
    let _permit = line.as_ref().permit().await;
    let head = Head {
        inner,
        key,
        line: &line,
    };
    while let Some(piece) = queued.next_piece(capacity(inner, key)) {
        queued.settle(piece, head.acquire(piece, None).await)?;
    }
    Ok(())
}

/// Returns the refusal of a caller for whose key there is no line.
async fn queue_full(inner: &Inner, key: &[u8], cost: u32) -> Refused {
    let now = inner.try_acquire(key, 0).await.view();
    Refused::new(now.refusing(cost, Outcome::QueueFull))
}

/// Waiter at the head of a line: it holds the permit.
struct Head<'a> {
    inner: &'a Inner,
    key: &'a [u8],
    line: &'a RedisLine,
}

impl Head<'_> {
    /// Polls until the tokens are taken.
    async fn acquire(&self, cost: u32, deadline: Option<Instant>) -> Result<Decision, Refused> {
        loop {
            // Before the request, so that no change after it is missed.
            let changed = self.line.as_ref().changed();
            let decision = self.inner.try_acquire(self.key, cost).await;
            self.line.publish(decision.view());
            match next(self.inner, self.key, decision, deadline) {
                Break(result) => return result,
                Continue(pause) => race(changed, sleep(pause)).await,
            };
        }
    }
}

/// Drop guard that refunds a charge in the background unless it is kept.
struct ChargeGuard<'a> {
    inner: &'a Arc<Inner>,
    key: &'a [u8],
    decision: Option<Decision>,
}

impl ChargeGuard<'_> {
    #[expect(
        clippy::expect_used,
        reason = "only this takes the decision, and it consumes the guard"
    )]
    fn keep(mut self) -> Decision {
        self.decision.take().expect("a charge is kept once")
    }
}

impl Drop for ChargeGuard<'_> {
    fn drop(&mut self) {
        if let Some(decision) = self.decision.take() {
            let (inner, key) = (Arc::clone(self.inner), self.key.to_vec());
            let refund = async move { inner.refund(&key, decision).await };
            self.inner.store.runtime.spawn(refund);
        }
    }
}

fn next(inner: &Inner, key: &[u8], decision: Decision, deadline: Option<Instant>) -> Next {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let cost = decision.cost();
    let wait = match decision.outcome() {
        Outcome::Refused => match (decision.retry_after(), left) {
            (None, Some(_)) => return Break(Err(Refused::at_deadline(decision.view(), cost))),
            (Some(wait), Some(left)) if wait > left || left.is_zero() => {
                return Break(Err(Refused::at_deadline(decision.view(), cost)));
            }
            (wait, _) => wait.map_or(MAX_INTERVAL, with_margin),
        },
        Outcome::Unavailable => MAX_INTERVAL,
        // Only above the local share: Redis may grant it after the outage.
        Outcome::CostAboveCapacity
            if decision.source() == DecisionSource::Local && cost <= capacity(inner, key) =>
        {
            MAX_INTERVAL
        }
        _ => return Break(decision.ok()),
    };
    match left {
        Some(left) if left.is_zero() => Break(decision.ok()),
        left => Continue(
            wait.clamp(MIN_INTERVAL, MAX_INTERVAL)
                .min(left.unwrap_or(MAX_INTERVAL)),
        ),
    }
}

/// Capacity of the key's shared quota.
fn capacity(inner: &Inner, key: &[u8]) -> u32 {
    let settings = inner.settings.load();
    settings.namespace(key).limit.layout.capacity_tokens()
}
