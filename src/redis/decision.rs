//! `SharedDecision`: a decision together with its source.

use std::{fmt, ops::Deref};

use crate::decision::{Decision, Refused};

/// Source of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionSource {
    /// Redis decided: the limit covers all instances together.
    Redis,
    /// The process decided from leased tokens, or from a remembered refusal of Redis: the limit
    /// covers all instances together.
    Lease,
    /// Redis is unavailable, and a bucket of this process decided:
    /// [`RedisFallback::Local`](super::RedisFallback::Local).
    Local,
    /// Redis is unavailable, and everything is allowed:
    /// [`RedisFallback::Open`](super::RedisFallback::Open).
    Open,
    /// Redis is unavailable, and everything is refused:
    /// [`RedisFallback::Closed`](super::RedisFallback::Closed).
    Closed,
}

impl DecisionSource {
    /// Returns the name of the fallback policy that decided: `local`, `open` or `closed`. `None`
    /// for decisions of Redis and from leases.
    ///
    /// ```
    /// # use tollgate::DecisionSource;
    /// assert_eq!(DecisionSource::Local.without_redis(), Some("local"));
    /// assert_eq!(DecisionSource::Lease.without_redis(), None);
    /// ```
    #[must_use]
    pub fn without_redis(self) -> Option<&'static str> {
        match self {
            DecisionSource::Redis | DecisionSource::Lease => None,
            DecisionSource::Local => Some("local"),
            DecisionSource::Open => Some("open"),
            DecisionSource::Closed => Some("closed"),
        }
    }
}

/// [`Decision`] of a [`RedisLimiter`](super::RedisLimiter), with its source. Dereferences to the
/// decision.
#[derive(Clone, Copy)]
pub struct SharedDecision {
    pub(super) decision: Decision,
    pub(super) source: DecisionSource,
    /// For decisions of Redis, the incarnation of the bucket. It is unique over all buckets,
    /// whatever their name and quota, so a refund needs nothing else to find the right bucket. For
    /// decisions from a lease, the holder id of the leased key.
    pub(super) incarnation: u64,
    /// For decisions from a lease, the epoch of the leased key: see
    /// [`Key::unspend`](super::lease::key::Key::unspend).
    pub(super) epoch: u64,
}

impl SharedDecision {
    /// Wraps a decision of the fallback.
    #[inline]
    pub(super) fn from_fallback(decision: Decision, source: DecisionSource) -> SharedDecision {
        SharedDecision {
            decision,
            source,
            incarnation: 0,
            epoch: 0,
        }
    }

    /// See [`Decision::deadline_refusal`].
    pub(super) fn deadline_refusal(self, cost: u32) -> Refused {
        self.decision.deadline_refusal(cost)
    }

    /// Returns the decision if it allows.
    pub(super) fn into_result(self) -> Result<SharedDecision, Refused> {
        self.decision.ok().map(|_| self)
    }

    /// Returns the source of the decision.
    #[must_use]
    pub fn source(&self) -> DecisionSource {
        self.source
    }

    /// Returns the plain decision, without its source.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.decision
    }
}

impl Deref for SharedDecision {
    type Target = Decision;

    fn deref(&self) -> &Decision {
        &self.decision
    }
}

impl fmt::Display for SharedDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decision.fmt(f)
    }
}

impl fmt::Debug for SharedDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDecision")
            .field("source", &self.source)
            .field("decision", &self.decision)
            .finish()
    }
}
