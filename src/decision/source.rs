//! Source of a decision.

/// Source of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionSource {
    /// A [`Bucket`](crate::Bucket) or a [`KeyedLimiter`](crate::KeyedLimiter) decided.
    Memory,
    /// Redis decided: the limit covers all instances together.
    Redis,
    /// The process decided from leased tokens, or from a remembered refusal of Redis: the limit
    /// covers all instances together.
    Lease,
    /// Redis is unavailable, and a bucket of this process decided:
    /// [`RedisFallback::Local`](crate::RedisFallback::Local).
    Local,
    /// Redis is unavailable, and everything is allowed:
    /// [`RedisFallback::Open`](crate::RedisFallback::Open).
    Open,
    /// Redis is unavailable, and everything is refused:
    /// [`RedisFallback::Closed`](crate::RedisFallback::Closed).
    Closed,
}

impl DecisionSource {
    /// Returns the name of the fallback policy that decided: `local`, `open` or `closed`. `None`
    /// for decisions of memory, of Redis and from leases.
    ///
    /// ```
    /// # use tollgate::DecisionSource;
    /// assert_eq!(DecisionSource::Local.without_redis(), Some("local"));
    /// assert_eq!(DecisionSource::Lease.without_redis(), None);
    /// ```
    #[must_use]
    pub fn without_redis(self) -> Option<&'static str> {
        match self {
            DecisionSource::Memory | DecisionSource::Redis | DecisionSource::Lease => None,
            DecisionSource::Local => Some("local"),
            DecisionSource::Open => Some("open"),
            DecisionSource::Closed => Some("closed"),
        }
    }
}
