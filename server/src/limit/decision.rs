//! Decision of a limiter in memory or in Redis.

use tollgate::{Decision, SharedDecision};

/// Decision about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitDecision {
    pub(crate) decision: Decision,
    /// The same decision with the data to refund it, if it comes from `Limiter::Redis`.
    pub(super) shared: Option<SharedDecision>,
}

impl LimitDecision {
    /// Returns the fallback policy (`local`, `open` or `closed`) that made the decision because
    /// Redis was unavailable.
    #[inline]
    pub(crate) fn fallback(&self) -> Option<&'static str> {
        self.shared?.source().without_redis()
    }
}

impl From<Decision> for LimitDecision {
    fn from(decision: Decision) -> LimitDecision {
        LimitDecision {
            decision,
            shared: None,
        }
    }
}

impl From<SharedDecision> for LimitDecision {
    fn from(shared: SharedDecision) -> LimitDecision {
        LimitDecision {
            decision: shared.decision(),
            shared: Some(shared),
        }
    }
}
