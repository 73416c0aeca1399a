//! Outcome of checking a request.

use std::{future::Future, pin::Pin};

use super::key_error::KeyError;
use crate::DecisionView;

/// Future of a decision.
pub(super) type PendingDecision = Pin<Box<dyn Future<Output = DecisionView> + Send>>;

/// Outcome of checking a request.
pub(super) enum CheckOutcome {
    /// The request is not limited.
    Exempt,
    Decided(DecisionView),
    /// The decision takes time.
    Pending(PendingDecision),
    NoKey(KeyError),
}
