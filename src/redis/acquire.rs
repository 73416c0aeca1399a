//! Waiting for tokens of a key in Redis.
//!
//! **By asking again.** Nothing is reserved in Redis: a process that crashes while it waits would
//! leave a place that nobody takes, and a waiter who leaves would need a message to give his back.
//! So who waits sleeps as long as the refusal says, and asks again. Between processes, whoever asks
//! first when the tokens are there gets them.
//!
//! **In turn within the process** (`queue`): of all who wait for a key here, the first asks, and
//! the others wait for him. So however many wait, a key costs Redis two calls or so for each that
//! is served. Nobody is told when a bucket is reset, its quota replaced, or Redis well again: the
//! first asks at least once a second.

use std::{
    future::Future,
    ops::ControlFlow::{self, Break, Continue},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{DecisionSource, RedisLimiter, SharedDecision};
use crate::{
    clock_margin::with_margin,
    decision::{Outcome, Refused},
};

type Next = ControlFlow<Result<SharedDecision, Refused>, Duration>;

/// Nobody asks less often, so that who waits learns of what made tokens come earlier.
const LONGEST: Duration = Duration::from_secs(1);
/// Nobody asks more often, however fast tokens come.
const SHORTEST: Duration = Duration::from_millis(1);

impl RedisLimiter {
    /// Takes `cost` tokens from the key's bucket, and waits until they are there.
    ///
    /// Those who wait in one process are served in turn; between processes, it is whoever asks
    /// first when the tokens are there, so that one who wants many may wait for as long as others
    /// take them one by one. While Redis cannot be asked, [`RedisFallback`](super::RedisFallback) decides; with
    /// [`RedisFallback::Closed`](super::RedisFallback::Closed), or more than the process's share, the wait
    /// lasts until it can. A cost of 0 never waits.
    ///
    /// A dropped future takes nothing, unless Redis is being asked just then. One that is neither
    /// polled nor dropped holds up the others in its process who wait for the same key.
    ///
    /// # Errors
    /// When `cost` is above the capacity: at once. (Not with
    /// [`RedisFallback::Open`](super::RedisFallback::Open), while Redis cannot be asked.)
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tollgate::{Quota, RedisLimiter};
    /// let calls = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(5)).await?;
    /// calls.acquire("api.example", 1).await?; // five a second, from all processes together
    /// # Ok(()) }
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> impl Future<Output = Result<SharedDecision, Refused>> + Send + 'a {
        self.wait_for(key.as_ref(), cost, None)
    }

    /// Like [`RedisLimiter::acquire`], for one who has until `deadline`, and for an answer of Redis
    /// that is under way then as long as the limiter's timeout.
    ///
    /// # Errors
    /// When the tokens cannot be had by then, too: as [`Outcome::DeadlineTooSoon`] at once when the
    /// one who is asked first can tell, or at the deadline when others were before this one; what
    /// such an error says of the bucket does not know of those. As [`Outcome::Unavailable`] when
    /// Redis cannot be asked until then, and [`RedisFallback::Closed`](super::RedisFallback::Closed) is set.
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<SharedDecision, Refused>> + Send + 'a {
        self.wait_for(key.as_ref(), cost, Some(deadline))
    }

    async fn wait_for(
        &self,
        key: &[u8],
        cost: u32,
        deadline: Option<Instant>,
    ) -> Result<SharedDecision, Refused> {
        if cost == 0 {
            return self.try_acquire(key, 0).await.or_refused();
        }
        // Nobody is overtaken, or nobody is kept from anything.
        if !self.shared.queues.has(key) || cost > self.capacity_of(key) {
            let decision = self.try_acquire(key, cost).await;
            if let Break(answer) = self.next(key, decision, deadline) {
                return answer;
            }
        }
        let place = self.shared.queues.enter(key);
        let turn = match deadline {
            None => Some(place.turn().await),
            Some(deadline) => timeout_at(deadline, place.turn()).await.ok(),
        };
        let Some(turn) = turn else {
            let found = match place.heard() {
                Some(heard) => heard,
                None => self.try_acquire(key, 0).await,
            };
            return Err(found.deadline_refusal(cost));
        };
        loop {
            let decision = self.try_acquire(key, cost).await;
            turn.hear(decision);
            match self.next(key, decision, deadline) {
                Break(answer) => return answer,
                Continue(pause) => sleep(pause).await,
            }
        }
    }

    /// The answer, or for how long to wait before the next question.
    fn next(&self, key: &[u8], decision: SharedDecision, deadline: Option<Instant>) -> Next {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let cost = decision.cost();
        let wait = match decision.outcome() {
            Outcome::Refused => match (decision.retry_after(), left) {
                (None, Some(_)) => return Break(Err(decision.deadline_refusal(cost))),
                (Some(wait), Some(left)) if wait > left || left.is_zero() => {
                    return Break(Err(decision.deadline_refusal(cost)));
                }
                (wait, _) => wait.map_or(LONGEST, with_margin),
            },
            Outcome::Unavailable => LONGEST,
            // It is above the process's share alone.
            Outcome::CostAboveCapacity
                if decision.source() == DecisionSource::Local && cost <= self.capacity_of(key) =>
            {
                LONGEST
            }
            _ => return Break(decision.or_refused()),
        };
        match left {
            Some(left) if left.is_zero() => Break(decision.or_refused()),
            left => Continue(wait.clamp(SHORTEST, LONGEST).min(left.unwrap_or(LONGEST))),
        }
    }

    fn capacity_of(&self, key: &[u8]) -> u32 {
        self.shared
            .settings()
            .owner(key)
            .limit
            .layout
            .capacity_tokens()
    }
}
