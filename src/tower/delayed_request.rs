//! Request that may wait for the tokens of several limits.

use std::{sync::Arc, time::Duration};

use super::{
    check_outcome::CheckOutcome, delay::Delay, functions::ObserverFn,
    layer_decision::LayerDecision, memory_limiter::MemoryLimiter, request_key::RequestKey,
};
use crate::{All, Ask, CompoundDecision, MAX_LIMITS, Outcome, all, all_of};

/// Request that may wait, without borrowing its head.
pub(super) struct DelayedRequest {
    /// From one to [`MAX_LIMITS`].
    pub(super) enforced: Vec<OwnedAsk>,
    pub(super) shadows: Vec<OwnedAsk>,
    pub(super) observer: Option<Arc<ObserverFn>>,
}

/// Request for tokens of a limit.
pub(super) struct OwnedAsk {
    pub(super) name: &'static str,
    pub(super) limiter: Arc<dyn MemoryLimiter>,
    pub(super) hash: u64,
    pub(super) cost: u32,
}

impl DelayedRequest {
    /// Decides at once, or after a wait.
    pub(super) fn decide(self, delay: &Delay, client: &RequestKey<'_>) -> CheckOutcome {
        if let Some(decided) = self.decide_at_once(delay) {
            return CheckOutcome::Decided(decided);
        }
        let Some(delayed) = delay.enter(client) else {
            return CheckOutcome::Decided(self.refuse_to_queue());
        };
        let max_wait = delay.max_wait;
        CheckOutcome::Pending(Box::pin(async move {
            let _delayed = delayed;
            self.acquire_within(max_wait).await
        }))
    }

    /// Decides unless the request may wait.
    fn decide_at_once(&self, delay: &Delay) -> Option<LayerDecision> {
        let asks = self.asks();
        // Requests that wait are not overtaken.
        if asks.iter().any(Ask::has_waiters) {
            return None;
        }
        let decision = all_of(&asks).ok()?.try_acquire();
        let mut refusing = decision.parts().filter(|part| part.is_refused());
        if decision.is_refused() && refusing.all(|part| delay.covers(&part)) {
            return None;
        }
        Some(self.decided(&decision))
    }

    /// Refuses a request because too many wait already.
    fn refuse_to_queue(&self) -> LayerDecision {
        let asks = self.asks();
        let look = of_one_to_eight(&asks).look();
        let mut refused = self.layer_decision(&look);
        if look.is_allowed() {
            let cost = self.enforced[look.tightest()].cost;
            refused.view = refused.view.refusing(cost, Outcome::QueueFull);
        }
        refused
    }

    async fn acquire_within(&self, max_wait: Duration) -> LayerDecision {
        let asks = self.asks();
        let all = of_one_to_eight(&asks);
        match all.acquire_within(max_wait).await {
            Ok(decision) => self.decided(&decision),
            Err(refused) => {
                // The state of all limits, for the headers. Where it allows the request, a line of
                // others that wait refuses it.
                let look = all.look();
                let mut decided = self.layer_decision(&look);
                if look.is_allowed() {
                    decided.view = refused.decision();
                }
                decided
            }
        }
    }

    /// Tries the shadow limits when the request is allowed.
    fn decided(&self, decision: &CompoundDecision<'_, MAX_LIMITS>) -> LayerDecision {
        if decision.is_allowed() {
            for shadow in &self.shadows {
                let tried = all([shadow.ask()]).try_acquire();
                if let (Some(observe), Some(view)) = (&self.observer, tried.part(0)) {
                    observe(shadow.name, &view);
                }
            }
        }
        self.layer_decision(decision)
    }

    fn layer_decision(&self, decision: &CompoundDecision<'_, MAX_LIMITS>) -> LayerDecision {
        let names = self.enforced.iter().map(|ask| ask.name);
        LayerDecision::of_several(names.zip(decision.parts()).collect(), decision.tightest())
    }

    fn asks(&self) -> Vec<Ask<'_>> {
        self.enforced.iter().map(OwnedAsk::ask).collect()
    }
}

impl OwnedAsk {
    fn ask(&self) -> Ask<'_> {
        self.limiter.ask_hashed(self.hash, self.cost)
    }
}

#[expect(
    clippy::expect_used,
    reason = "a layer has at most eight limits, and a request that none applies to does not wait"
)]
fn of_one_to_eight<'a>(asks: &[Ask<'a>]) -> All<'a, MAX_LIMITS> {
    all_of(asks).expect("from one to eight limits")
}
