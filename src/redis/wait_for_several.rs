//! Waiting for tokens of several limits in Redis.
//!
//! **The deciding limit first**, as in memory. A caller waits in the line of one limit and key of its
//! process: that of the limit that decides its refusal. The head of that line sleeps until its tokens
//! are there, and asks for those of all limits. When another limit decides then, it waits in the line
//! of that one.
//!
//! **No tokens are held during a wait**, and nothing is reserved in Redis: a caller that gives up, or
//! a process that crashes, leaves nothing behind. Between processes, the first request after the
//! tokens arrive gets them.
//!
//! **Few calls.** Only the head of a line polls, and a refusal is remembered for at most 100 ms, also
//! for those that arrive behind it. So is the refusal of each other limit that refused with it: a
//! request that a limit without a wait refuses does not wait for the others.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    ask::RedisAsk,
    compound_decision::RedisCompoundDecision,
    line::RedisLine,
    several::{all_in_redis, look, remembered},
    wait::{MAX_INTERVAL, MIN_INTERVAL},
};
use crate::{
    clock_margin::with_margin,
    compound::LimitCountError,
    decision::{DecisionView, Outcome, Refused},
    wait::race,
};

/// Takes the tokens of up to eight limits in Redis, or none, and waits until they are available: for
/// each limit at most as long as `max_waits` says, numbered as the limits and counted from this call.
/// A missing number is a limit without a wait.
///
/// Callers wait for one limit at a time, in the order of arrival within the process, and hold no
/// tokens of another one meanwhile. Between processes they are unordered. The decision is a refusal
/// when a limit refuses for longer than its wait, at once if that is known, and also when the tokens
/// queued ahead in this process show it, which is an estimate
/// ([`Outcome::DeadlineTooSoon`](crate::Outcome::DeadlineTooSoon)). In several slots of a cluster, with
/// leases and while Redis is unavailable, only one refusing slot or limit is known at a time: then a
/// caller may wait for it, and be refused by another one afterwards. While Redis is unavailable, callers do not wait with
/// [`RedisFallback::Closed`](crate::RedisFallback::Closed).
///
/// A dropped future takes nothing, unless a request to Redis is in flight at that moment.
///
/// # Errors
/// When there is no limit, or more than eight.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use {std::time::Duration, tollgate::{Quota, RedisLimiter, all_in_redis_within_each}};
///
/// let url = "redis://127.0.0.1/";
/// let smooth = RedisLimiter::builder(url, Quota::per_second(10)).prefix("smooth").connect().await?;
/// let daily = RedisLimiter::builder(url, Quota::per_day(1000)).prefix("daily").connect().await?;
/// let asks = [smooth.ask("alice", 1), daily.ask("alice", 1)];
/// let waits = [Duration::from_secs(1), Duration::ZERO]; // a second for `smooth`, none for `daily`
/// let decision = all_in_redis_within_each(&asks, &waits).await?;
/// # Ok(()) }
/// ```
pub async fn all_in_redis_within_each<'a>(
    asks: &[RedisAsk<'a>],
    max_waits: &[Duration],
) -> Result<RedisCompoundDecision<'a>, LimitCountError> {
    let waits = Waits {
        start: Instant::now(),
        each: max_waits,
    };
    // Callers that wait are not overtaken.
    let queued = asks.iter().position(RedisAsk::has_waiters);
    let (mut decision, mut number) = match queued {
        Some(number) => {
            let found = match remembered(asks) {
                Some(refused) => refused,
                None => look(asks).await?,
            };
            if waits.rule_out(&found) {
                return Ok(found);
            }
            (found, number)
        }
        None => {
            let decision = all_in_redis(asks).await?;
            match waits.next(&decision) {
                Some(number) => (decision, number),
                None => return Ok(decision),
            }
        }
    };
    loop {
        let ask = &asks[number];
        let cost = ask.cost_in_line(asks);
        let part = decision.part(number);
        let Some(line) = ask.limiter.lines.join(ask.key.into()) else {
            let state = match part {
                Some(state) => state,
                None => ask.limiter.try_acquire(ask.key, 0).await.view(),
            };
            let refused = Refused::new(state.refusing(cost, Outcome::QueueFull));
            return Ok(decision.with_refusal(number, refused));
        };
        let (_queued, ahead) = line.as_ref().enqueue(cost.into());
        let _permit = match waits.deadline(number) {
            None => line.as_ref().permit().await,
            Some(deadline) => {
                let is_late = is_too_long(&line, ahead, cost, deadline);
                let permit = match is_late {
                    true => None,
                    false => timeout_at(deadline, line.as_ref().permit()).await.ok(),
                };
                let Some(permit) = permit else {
                    let last = match line.last_decision() {
                        Some((last, _)) => last,
                        None => ask.limiter.try_acquire(ask.key, 0).await.view(),
                    };
                    let refused = Refused::at_deadline(last, cost);
                    return Ok(decision.with_refusal(number, refused));
                };
                permit
            }
        };
        number = loop {
            // Before the request, so that no change after it is missed.
            let changed = line.as_ref().changed();
            decision = all_in_redis(asks).await?;
            if let Some(part) = decision.part(number) {
                line.publish(part);
            }
            let Some(next) = waits.next(&decision) else {
                return Ok(decision);
            };
            if !asks[next].shares_line(ask) {
                break next;
            }
            race(changed, sleep(waits.pause(next, decision.part(next)))).await;
        };
    }
}

/// Returns true when the tokens queued ahead cannot be refilled by the deadline.
fn is_too_long(line: &RedisLine, ahead: u64, cost: u32, deadline: Instant) -> bool {
    line.last_decision().is_some_and(|(last, age)| {
        last.outcome() != Outcome::Unavailable
            && last.wait_behind(ahead, cost).saturating_sub(age)
                > deadline.saturating_duration_since(Instant::now())
    })
}

/// Longest waits for the limits of a call.
struct Waits<'w> {
    /// Time of the call.
    start: Instant,
    each: &'w [Duration],
}

impl Waits<'_> {
    /// Returns the deadline of a limit. `None`: centuries ahead.
    fn deadline(&self, number: usize) -> Option<Instant> {
        let max_wait = self.each.get(number).copied().unwrap_or(Duration::ZERO);
        self.start.checked_add(max_wait)
    }

    fn left(&self, number: usize) -> Duration {
        self.deadline(number).map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        })
    }

    /// Returns the number of the limit to wait for. `None`: the decision is final.
    fn next(&self, decision: &RedisCompoundDecision<'_>) -> Option<usize> {
        decision.refused_by().filter(|_| !self.rule_out(decision))
    }

    /// Returns true for a refusal that waiting does not end, or not in time.
    fn rule_out(&self, decision: &RedisCompoundDecision<'_>) -> bool {
        let is_final = |(number, part): (usize, Option<DecisionView>)| {
            part.filter(DecisionView::is_refused).is_some_and(|part| {
                let left = self.left(number);
                part.outcome() != Outcome::Refused
                    || left.is_zero()
                    || part.retry_after().is_none_or(|wait| wait > left)
            })
        };
        decision.parts().enumerate().any(is_final)
    }

    /// Returns the time until the next poll.
    fn pause(&self, number: usize, part: Option<DecisionView>) -> Duration {
        let wait = part.and_then(|part| part.retry_after());
        wait.map_or(MAX_INTERVAL, with_margin)
            .clamp(MIN_INTERVAL, MAX_INTERVAL)
            .min(self.left(number))
    }
}
