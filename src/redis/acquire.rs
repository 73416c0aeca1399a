//! Waiting for tokens of a key in Redis.
//!
//! **By asking again.** Nothing is reserved in Redis: a process that crashes while it waits would leave a place that nobody
//! takes, and a waiter who leaves would need a message to give his back. So who waits sleeps as long as the refusal says, and asks
//! again. Between processes, whoever asks first when the tokens are there gets them.
//!
//! **In turn within the process** (`queue`): of all who wait for a key here, the first asks, and the others wait for him. So
//! however many wait, a key costs Redis one call for each that is served, and few besides.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{RedisLimiter, SharedDecision};
use crate::{
    decision::{Outcome, Refused},
    wait::with_margin,
};

/// After this it is worth a try to ask a Redis again that could not be asked.
const PROBED_AGAIN: Duration = Duration::from_secs(1);

/// Nobody asks more often, however fast tokens come.
const SHORTEST: Duration = Duration::from_millis(1);

impl RedisLimiter {
    /// Takes `cost` tokens from the key's bucket, and waits until they are there.
    ///
    /// Those who wait in one process are served in turn; between processes, whoever asks first when the tokens are there. A
    /// dropped future takes nothing, unless Redis is being asked just then. While Redis cannot be asked,
    /// [`OnError`](super::OnError) decides; with [`OnError::Closed`](super::OnError::Closed) the wait lasts until it can.
    ///
    /// # Errors
    /// When `cost` is above the capacity, or while Redis cannot be asked, above the process's share of it: at once.
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

    /// Like [`RedisLimiter::acquire`], for one who has until `deadline`.
    ///
    /// # Errors
    /// When the tokens cannot be had by then, too: as soon as that is known, at the latest when Redis is asked at the deadline.
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by<'a>(
        &'a self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<SharedDecision, Refused>> + Send + 'a {
        self.wait_for(key.as_ref(), cost, Some(deadline))
    }

    async fn wait_for(&self, key: &[u8], cost: u32, deadline: Option<Instant>) -> Result<SharedDecision, Refused> {
        if cost > self.rule(key).unwrap_or_else(|| self.quota()).get_capacity() {
            // Who can never pass need not stand in line to hear so, if it is true in Redis, too.
            let decision = self.try_acquire(key, cost).await;
            if !matches!(decision.outcome(), Outcome::Refused | Outcome::Unavailable) {
                return decision.ok().map(|_| decision);
            }
        }
        let place = self.shared.queues.enter(key);
        let _turn = match deadline {
            None => place.turn().await,
            Some(deadline) => match timeout_at(deadline, place.turn()).await {
                Ok(turn) => turn,
                Err(_) => return self.try_acquire(key, 0).await.too_late(cost),
            },
        };
        loop {
            let decision = self.try_acquire(key, cost).await;
            let wait = match (decision.outcome(), decision.retry_after()) {
                (Outcome::Unavailable, _) => PROBED_AGAIN,
                (Outcome::Refused, Some(wait)) => with_margin(wait).max(SHORTEST),
                _ => return decision.ok().map(|_| decision),
            };
            if deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) < wait) {
                return decision.too_late(cost);
            }
            sleep(wait).await;
        }
    }
}
