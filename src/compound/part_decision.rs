//! Decision on one of several limits.

use core::fmt;

use crate::{
    decision::{Decision, DecisionView},
    origin::Origin,
};

/// Decision on a part. `Copy`, since only the whole can be refunded.
#[derive(Clone, Copy)]
pub(super) struct PartDecision {
    pub(super) view: DecisionView,
    pub(super) origin: Origin,
}

impl PartDecision {
    pub(super) const fn of(decision: &Decision) -> PartDecision {
        PartDecision {
            view: decision.view(),
            origin: decision.origin(),
        }
    }

    /// Returns the same decision as one that charged nothing.
    pub(super) const fn without_charge(self) -> PartDecision {
        PartDecision {
            view: self.view.without_charge(),
            ..self
        }
    }

    /// Returns the decision that the bucket of the part refunds.
    pub(super) const fn decision(&self) -> Decision {
        Decision::new(self.view).with_origin(self.origin)
    }
}

impl fmt::Debug for PartDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}
