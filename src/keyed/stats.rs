//! Statistics of a keyed limiter.

/// Statistics of a [`KeyedLimiter`](crate::KeyedLimiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// Keys whose bucket is not full.
    pub live: usize,
    /// Keys that were evicted before their bucket was full, since the quota was last replaced.
    pub evicted_early: u64,
    /// Requests that were refused because the table had no slot for their key, since the quota was
    /// last replaced.
    pub saturated: u64,
    /// Buckets that fit in the table.
    pub slots: usize,
    /// Memory of the table in bytes.
    pub bytes: usize,
    /// In a [shared file](crate::KeyedLimiterBuilder::shared_file): latches taken from processes that died
    /// or stopped.
    #[cfg(feature = "shared")]
    pub stolen: u64,
    /// Inserts of theirs that were undone.
    #[cfg(feature = "shared")]
    pub undone: u64,
    /// Inserts that started over, since another process took this one for dead.
    #[cfg(feature = "shared")]
    pub fenced: u64,
    /// Another process has replaced the quota or the rules, and the new ones cannot be mapped, as when this process
    /// has too many open files: decisions go on with the old ones, and try again.
    #[cfg(feature = "shared")]
    pub is_outdated: bool,
    /// The file was deleted: the next process to open its path creates another one.
    #[cfg(feature = "shared")]
    pub is_detached: bool,
}
