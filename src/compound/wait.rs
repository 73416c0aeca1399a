//! Waiting for tokens of several limits.
//!
//! **The deciding limit first.** A caller waits in the line of one limit: that which decides its
//! refusal. At the head of that line, with that limit's tokens taken, it takes from the others at
//! once, or gives the tokens back, which is exact since they are the last charge, and waits for the
//! limit that refuses now.
//!
//! **Deadlines.** Each limit may have its own: a refusal that lasts beyond it ends the wait.
//!
//! **No tokens are held during a wait.** A caller that reserved on each limit and waited for the
//! latest would use its tokens of the others long after their turn, many callers at the same time,
//! and so above their capacity.

use std::time::Duration;

use super::{All, CompoundDecision, ask::Ask};
use crate::decision::{Decision, DecisionView, Outcome, Refused};

/// Step that follows when the tokens of one limit are taken.
enum Next<T> {
    Taken(T),
    /// Wait for this limit, for so many tokens.
    WaitFor(usize, u32),
    Refused(Refused),
}

impl<'a, const K: usize> All<'a, K> {
    /// Takes the tokens of all limits, and waits until they are available. A future that is dropped
    /// takes nothing.
    ///
    /// Callers wait for one limit at a time, in its order of arrival, and hold no tokens of another
    /// one meanwhile. Between callers of different sets of limits there is no common order.
    ///
    /// # Errors
    /// When the cost is above one of the capacities, now or after a change of the quota; when callers
    /// wait on too many keys of a limiter; or when a table has no slot for another key. Nothing is
    /// taken then.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let [burst, minute] = [Quota::per_second(100).with_capacity(1), Quota::per_minute(6000)].map(Bucket::new);
    /// for _ in 0..3 {
    ///     tollgate::all([burst.ask(1), minute.ask(1)]).acquire().await?; // one at once, then one every 10 ms
    /// }
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    pub async fn acquire(self) -> Result<CompoundDecision<'a, K>, Refused> {
        self.acquire_in_line(&Waits::unbounded()).await
    }

    /// Like [`All::acquire`], with the longest wait, which begins with this call.
    ///
    /// # Errors
    /// Additionally when the tokens are not available in that time:
    /// [`Outcome::DeadlineTooSoon`]. At once when the limit that decides, with the tokens queued ahead
    /// of it, shows that, which is an estimate; else when it shows.
    pub async fn acquire_within(
        self,
        max_wait: Duration,
    ) -> Result<CompoundDecision<'a, K>, Refused> {
        self.acquire_within_each(&[max_wait; K]).await
    }

    /// Like [`All::acquire_within`], with a longest wait for each limit, numbered as the limits: a
    /// limit that refuses for longer, counted from this call, ends the wait. A missing number is a
    /// limit without a wait.
    ///
    /// # Errors
    /// As for [`All::acquire_within`].
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let [smooth, daily] = [Quota::per_second(100).with_capacity(1), Quota::per_day(2)].map(Bucket::new);
    /// let ask = || tollgate::all([smooth.ask(1), daily.ask(1)]);
    /// let waits = [Duration::from_secs(1), Duration::ZERO];
    /// for _ in 0..2 {
    ///     ask().acquire_within_each(&waits).await?; // the second waits 10 ms for `smooth`
    /// }
    /// assert!(ask().acquire_within_each(&waits).await.is_err()); // `daily` refuses at once
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    pub async fn acquire_within_each(
        self,
        max_waits: &[Duration],
    ) -> Result<CompoundDecision<'a, K>, Refused> {
        let start = self.asks[0].clock().now();
        let waits = Waits {
            start,
            each: Some(max_waits),
        };
        self.acquire_in_line(&waits).await
    }

    async fn acquire_in_line(self, waits: &Waits<'_>) -> Result<CompoundDecision<'a, K>, Refused> {
        // Callers that wait are not overtaken.
        let queued = (0..self.len).find(|&n| self.asks[n].has_waiters());
        let mut next = match queued {
            Some(number) => {
                let look = self.look();
                match self.hopeless(&look, waits) {
                    Some(refused) => return Err(refused),
                    None => (number, cost_of(&look, number)),
                }
            }
            None => match self.after(self.try_acquire(), waits) {
                Next::Taken(decision) => return Ok(decision),
                Next::WaitFor(number, cost) => (number, cost),
                Next::Refused(refused) => return Err(refused),
            },
        };
        loop {
            let (number, cost) = next;
            let ask = self.asks[number];
            let take_others = |decision| self.take_others(number, decision, waits);
            let max_wait = waits.left(number, &ask);
            match ask.acquire_and(cost, max_wait, take_others).await? {
                Next::Taken(decision) => return Ok(decision),
                Next::WaitFor(number, cost) => next = (number, cost),
                Next::Refused(refused) => return Err(refused),
            }
        }
    }

    /// Takes from the other limits than one whose tokens are taken, or gives those back.
    fn take_others(
        self,
        number: usize,
        taken: Decision,
        waits: &Waits<'_>,
    ) -> Next<CompoundDecision<'a, K>> {
        let own = self.asks[number];
        let mut others = self;
        for ask in &mut others.asks {
            if ask.is_on_bucket_of(&own) {
                ask.cost = 0;
            }
        }
        match self.after(others.try_acquire(), waits) {
            Next::Taken(decision) => {
                let is_own = |n: usize| self.asks[n].is_on_bucket_of(&own);
                Next::Taken(decision.with_part(self.asks, number, taken, is_own))
            }
            refused => {
                own.refund(&taken);
                refused
            }
        }
    }

    /// Returns what follows a decision.
    fn after(
        &self,
        decision: CompoundDecision<'a, K>,
        waits: &Waits<'_>,
    ) -> Next<CompoundDecision<'a, K>> {
        match (self.hopeless(&decision, waits), decision.refused_by()) {
            (Some(refused), _) => Next::Refused(refused),
            (None, Some(number)) => Next::WaitFor(number, cost_of(&decision, number)),
            (None, None) => Next::Taken(decision),
        }
    }

    /// Returns the refusal of a request that waiting does not help, or not in time.
    fn hopeless(&self, decision: &CompoundDecision<'_, K>, waits: &Waits<'_>) -> Option<Refused> {
        let is_final =
            |part: &DecisionView| part.is_refused() && part.outcome() != Outcome::Refused;
        if let Some(part) = decision.parts().find(is_final) {
            return Some(Refused::new(part));
        }
        let mut parts = decision.parts().enumerate();
        let is_late = parts.any(|(number, part)| {
            let left = waits.left(number, &self.asks[number]);
            left.zip(part.retry_after())
                .is_some_and(|(left, wait)| wait > left)
        });
        // The one that ends last says when to try again.
        let deciding = decision
            .refused_by()
            .and_then(|number| decision.part(number));
        deciding
            .filter(|_| is_late)
            .map(|part| Refused::at_deadline(part, part.cost()))
    }
}

/// Longest waits for the limits of a call.
struct Waits<'w> {
    /// Time of the call.
    start: Duration,
    /// `None`: they are unbounded.
    each: Option<&'w [Duration]>,
}

impl Waits<'_> {
    fn unbounded() -> Waits<'static> {
        Waits {
            start: Duration::ZERO,
            each: None,
        }
    }

    /// Returns the time that is left to wait for a limit. `None`: it is unbounded.
    fn left(&self, number: usize, ask: &Ask<'_>) -> Option<Duration> {
        let max_wait = self.each?.get(number).copied().unwrap_or(Duration::ZERO);
        let waited = ask.clock().now().saturating_sub(self.start);
        Some(max_wait.saturating_sub(waited))
    }
}

/// Returns the cost of a part, with those merged into it.
fn cost_of<const K: usize>(decision: &CompoundDecision<'_, K>, number: usize) -> u32 {
    decision.part(number).map_or(0, |part| part.cost())
}
