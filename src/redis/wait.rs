//! Waiting for tokens of a key in Redis.
//!
//! **Polling.** Nothing is reserved in Redis: a process that crashes while it waits would leave a
//! reservation that no client uses, and a cancelled waiter would need a message to release its own.
//! So a waiter sleeps for the `retry_after` of its refusal and tries again. Between processes, the
//! first request after the tokens arrive gets them.
//!
//! **FIFO within the process** ([`queue`](super::queue)): only the head of a key's queue sends
//! requests, and the other waiters wait for it. So a key costs Redis about two calls per served
//! waiter, however many wait. No message announces a reset, a replaced quota or the end of an
//! outage: the head polls at least once a second.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::inner::Inner;
use crate::{
    clock_margin::with_margin,
    decision::{Decision, DecisionSource, Outcome, Refused},
};

/// Result of the wait, or the pause before the next poll.
type Next = ControlFlow<Result<Decision, Refused>, Duration>;

/// Longest poll interval, so that waiters notice events that make tokens available earlier.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest poll interval, however fast the refill.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

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
    if !inner.queues.has_waiters(key) || cost > capacity(inner, key) {
        let decision = inner.try_acquire(key, cost).await;
        if let Break(result) = next(inner, key, decision, deadline) {
            return result;
        }
    }
    let waiter = inner.queues.join(key);
    let head = match deadline {
        None => Some(waiter.head().await),
        Some(deadline) => timeout_at(deadline, waiter.head()).await.ok(),
    };
    let Some(head) = head else {
        let last = match waiter.last_decision() {
            Some(last) => last,
            None => inner.try_acquire(key, 0).await.view(),
        };
        return Err(Refused::at_deadline(last, cost));
    };
    loop {
        let decision = inner.try_acquire(key, cost).await;
        head.publish(decision.view());
        match next(inner, key, decision, deadline) {
            Break(result) => return result,
            Continue(pause) => sleep(pause).await,
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
