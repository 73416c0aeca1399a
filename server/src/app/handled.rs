//! What came of looking at a request's header.

use hyper::HeaderMap;
use tollgate::{Decision, tower::HeaderStyle};

use crate::answer::{self, Answer};

/// An answer, and what has to be read before it is sent.
pub(crate) struct Handled {
    pub(crate) answer: Answer,
    pub(crate) wants: Wants,
}

/// What the body of the request is for.
#[derive(Clone, Debug)]
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
    Proxied(usize, Told),
}

/// What a client is told in the headers of an upstream's answer. Nothing of a request that is
/// exempt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(super) decision: Option<(HeaderStyle, Decision)>,
    pub(super) without_redis: Option<&'static str>,
}

impl Told {
    /// In place of what the upstream says of limits of its own.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some((choice, decision)) = &self.decision {
            choice.overwrite(decision, headers);
        }
        if let Some(policy) = self.without_redis {
            answer::tell_without_redis(headers, policy);
        }
    }
}

impl Handled {
    /// Whether the answer does not depend on the body.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.wants, Wants::Nothing)
    }

    /// With nothing to be read.
    pub(super) fn done(answer: Answer) -> Handled {
        Handled {
            answer,
            wants: Wants::Nothing,
        }
    }
}
