//! Waiting for tokens of several limits.
//!
//! **The deciding limit first.** A caller waits in the line of one limit: that which decides its
//! refusal. At the head of that line, with that limit's tokens taken, it takes from the others at
//! once, or gives the tokens back, which is exact since they are the last charge, and waits for the
//! limit that refuses now.
//!
//! **No tokens are held during a wait.** A caller that reserved on each limit and waited for the
//! latest would use its tokens of the others long after their turn, many callers at the same time,
//! and so above their capacity.

use super::{All, CompoundDecision};
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
        // Callers that wait are not overtaken.
        let queued = (0..self.len).find(|&n| self.asks[n].has_waiters());
        let mut next = match queued {
            Some(number) => {
                let look = self.look();
                match never(&look) {
                    Some(refused) => return Err(refused),
                    None => (number, cost_of(&look, number)),
                }
            }
            None => match self.after(self.try_acquire()) {
                Next::Taken(decision) => return Ok(decision),
                Next::WaitFor(number, cost) => (number, cost),
                Next::Refused(refused) => return Err(refused),
            },
        };
        loop {
            let (number, cost) = next;
            let take_others = |decision| self.take_others(number, decision);
            match self.asks[number].acquire_and(cost, take_others).await? {
                Next::Taken(decision) => return Ok(decision),
                Next::WaitFor(number, cost) => next = (number, cost),
                Next::Refused(refused) => return Err(refused),
            }
        }
    }

    /// Takes from the other limits than one whose tokens are taken, or gives those back.
    fn take_others(self, number: usize, taken: Decision) -> Next<CompoundDecision<'a, K>> {
        let own = self.asks[number];
        let mut others = self;
        for ask in &mut others.asks {
            if ask.is_on_bucket_of(&own) {
                ask.cost = 0;
            }
        }
        match self.after(others.try_acquire()) {
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
    fn after(&self, decision: CompoundDecision<'a, K>) -> Next<CompoundDecision<'a, K>> {
        match (never(&decision), decision.refused_by()) {
            (Some(refused), _) => Next::Refused(refused),
            (None, Some(number)) => Next::WaitFor(number, cost_of(&decision, number)),
            (None, None) => Next::Taken(decision),
        }
    }
}

/// Returns the refusal of a request that waiting does not help.
fn never<const K: usize>(decision: &CompoundDecision<'_, K>) -> Option<Refused> {
    let is_final = |part: &DecisionView| part.is_refused() && part.outcome() != Outcome::Refused;
    decision.parts().find(is_final).map(Refused::new)
}

/// Returns the cost of a part, with those merged into it.
fn cost_of<const K: usize>(decision: &CompoundDecision<'_, K>, number: usize) -> u32 {
    decision.part(number).map_or(0, |part| part.cost())
}
