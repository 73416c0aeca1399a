//! What came of looking at a request's header.

use crate::answer::Answer;

/// An answer, and what has to be read before it is sent.
pub(crate) struct Handled {
    pub(crate) answer: Answer,
    pub(crate) wants: Wants,
}

/// What the body of the request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Nothing,
    /// To be echoed.
    Submitted,
    /// A new default.
    NewDefault,
    /// One client's limits.
    NewRule,
    /// Whether somebody may pass.
    Asked,
    /// Nothing, but the end of one client's own limits, whose name is this, percent-encoded.
    RuleRemoved(String),
    /// To go to the upstream of this number, which gives the answer.
    Proxied(usize),
}

impl Handled {
    /// Whether the answer does not depend on the body.
    pub(crate) fn is_complete(&self) -> bool {
        self.wants == Wants::Nothing
    }

    /// With nothing to be read.
    pub(super) fn done(answer: Answer) -> Handled {
        Handled { answer, wants: Wants::Nothing }
    }
}
