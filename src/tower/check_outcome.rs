//! Outcome of checking a request.

use std::{future::Future, pin::Pin};

use super::{key_error::KeyError, layer_decision::LayerDecision};
use crate::DecisionView;

/// Future of a decision.
pub(super) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Outcome of checking a request.
pub(super) enum CheckOutcome {
    /// The request is not limited.
    Exempt,
    Decided(LayerDecision),
    /// The decision takes time.
    Pending(Pending<LayerDecision>),
    NoKey(KeyError),
}

impl CheckOutcome {
    /// The decision of a single limit.
    #[inline]
    pub(super) fn of_one(policy: &'static str, decision: DecisionView) -> CheckOutcome {
        CheckOutcome::Decided(LayerDecision::of_one(policy, decision))
    }
}
