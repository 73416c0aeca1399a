//! Requests that wait for their tokens instead of being refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    check_outcome::CheckOutcome, layer_decision::LayerDecision, memory_limiter::MemoryLimiter,
    request_key::RequestKey,
};
use crate::{DecisionView, Outcome};

/// Longest wait of a request, and bounds of the requests that wait.
#[derive(Clone, Debug)]
pub(super) struct Delay {
    /// Zero: no request waits.
    pub(super) max_wait: Duration,
    pub(super) max_per_key: usize,
    pub(super) max_total: usize,
    waiting: Arc<Mutex<Waiting>>,
}

/// Numbers of the requests that wait.
#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    per_key: HashMap<RequestKey<'static>, usize>,
}

/// Request that waits, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Delayed {
    key: RequestKey<'static>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Default for Delay {
    fn default() -> Delay {
        Delay {
            max_wait: Duration::ZERO,
            max_per_key: 16,
            max_total: 1024,
            waiting: Arc::default(),
        }
    }
}

impl Delay {
    pub(super) fn is_off(&self) -> bool {
        self.max_wait.is_zero()
    }

    /// Decides with a limiter in memory: at once, or after a wait.
    pub(super) fn decide(
        &self,
        limiter: &Arc<dyn MemoryLimiter>,
        key: &RequestKey<'_>,
        cost: u32,
        policy: &'static str,
    ) -> CheckOutcome {
        // Requests that wait are not overtaken.
        let refused = if limiter.has_waiters(key) {
            None
        } else {
            let decision = limiter.try_acquire(key, cost);
            if !self.covers(&decision) {
                return CheckOutcome::of_one(policy, decision);
            }
            Some(decision)
        };
        let Some(delayed) = self.enter(key) else {
            let refused = refused.unwrap_or_else(|| {
                let now = limiter.try_acquire(key, 0);
                now.refusing(cost, Outcome::QueueFull)
            });
            return CheckOutcome::of_one(policy, refused);
        };
        let acquiring = Arc::clone(limiter).acquire_within(key, cost, self.max_wait);
        CheckOutcome::Pending(Box::pin(async move {
            let _delayed = delayed;
            LayerDecision::of_one(policy, acquiring.await)
        }))
    }

    /// Returns true for a refusal that ends within the longest wait.
    pub(super) fn covers(&self, decision: &DecisionView) -> bool {
        decision.outcome() == Outcome::Refused
            && decision
                .retry_after()
                .is_some_and(|wait| wait <= self.max_wait)
    }

    /// Counts a request that begins to wait. `None`: too many wait already.
    pub(super) fn enter(&self, key: &RequestKey<'_>) -> Option<Delayed> {
        let key = key.clone().into_owned();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = waiting.per_key.get(&key).copied().unwrap_or(0);
        if waiting.total >= self.max_total || of_key >= self.max_per_key {
            return None;
        }
        waiting.total += 1;
        waiting.per_key.insert(key.clone(), of_key + 1);
        Some(Delayed {
            key,
            waiting: Arc::clone(&self.waiting),
        })
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.total -= 1;
        if let Some(of_key) = waiting.per_key.get_mut(&self.key) {
            *of_key -= 1;
            if *of_key == 0 {
                waiting.per_key.remove(&self.key);
            }
        }
    }
}
