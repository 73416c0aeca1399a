//! A decision, and who made it.

use std::{fmt, ops::Deref};

use crate::decision::{Decision, Refused};

/// Who made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionSource {
    /// Redis did: the limit is that of all instances together.
    Redis,
    /// The process itself did, from tokens that it has leased from Redis, or since it remembers
    /// that Redis has too few: the limit is that of all instances together.
    Lease,
    /// Redis cannot be asked, and the process's own bucket decided:
    /// [`RedisFallback::Local`](super::RedisFallback::Local).
    Local,
    /// Redis cannot be asked, so everything is allowed: [`RedisFallback::Open`](super::RedisFallback::Open).
    Open,
    /// Redis cannot be asked, so everything is refused:
    /// [`RedisFallback::Closed`](super::RedisFallback::Closed).
    Closed,
}

impl DecisionSource {
    /// `local`, `open` or `closed`: the policy that decided, since Redis could not be asked.
    /// `None`: it was, or need not be.
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

/// A [`Decision`] of a [`RedisLimiter`](super::RedisLimiter), which it dereferences to, and who
/// made it.
#[derive(Clone, Copy)]
pub struct SharedDecision {
    pub(super) decision: Decision,
    pub(super) source: DecisionSource,
    /// The life of the bucket that decided, if it is in Redis. No other bucket has the same,
    /// whatever its name and its quota, so this is all that a refund has to know. Of a decision
    /// from a lease, the number of the key that held it.
    pub(super) life: u64,
    /// Of a decision from a lease, the key's turn: see
    /// [`Key::unspend`](super::lease::key::Key::unspend).
    pub(super) turn: u64,
}

impl SharedDecision {
    /// A decision made without Redis.
    #[inline]
    pub(super) fn without_redis(decision: Decision, source: DecisionSource) -> SharedDecision {
        SharedDecision {
            decision,
            source,
            life: 0,
            turn: 0,
        }
    }

    /// See [`Decision::deadline_refusal`].
    pub(super) fn deadline_refusal(self, cost: u32) -> Refused {
        self.decision.deadline_refusal(cost)
    }

    /// Itself, when it allows.
    pub(super) fn or_refused(self) -> Result<SharedDecision, Refused> {
        self.decision.ok().map(|_| self)
    }

    /// Who made the decision.
    #[must_use]
    pub fn source(&self) -> DecisionSource {
        self.source
    }

    /// The decision itself, for what takes decisions of any limiter.
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
