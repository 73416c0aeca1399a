//! Clock that a test advances.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "tokio")]
use crate::sync::Notify;
use crate::{
    duration::saturating_nanos,
    sync::{AtomicU64, Ordering},
};

/// Clock that only its methods advance, for tests without sleeping.
///
/// Clones share the same time. Callers that wait by this clock wake up when it is advanced far
/// enough.
///
/// ```
/// use {std::time::Duration, tollgate::{KeyedLimiter, ManualClock, Quota}};
///
/// let clock = ManualClock::new();
/// let limiter = KeyedLimiter::builder(Quota::per_second(1)).clock(clock.clone()).build()?;
/// assert!(limiter.try_acquire("alice", 1).is_allowed());
/// assert!(limiter.try_acquire("alice", 1).is_refused());
/// clock.advance(Duration::from_secs(1));
/// assert!(limiter.try_acquire("alice", 1).is_allowed());
/// # Ok::<(), tollgate::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

struct Shared {
    nanos: AtomicU64,
    #[cfg(feature = "tokio")]
    changed: Notify,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            nanos: AtomicU64::new(0),
            #[cfg(feature = "tokio")]
            changed: Notify::const_new(),
        }
    }
}

impl ManualClock {
    /// Creates a clock at time zero.
    #[must_use]
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Advances the clock by `time`.
    pub fn advance(&self, time: Duration) {
        // Wrapping takes five centuries; the time of buckets stops long before.
        self.shared
            .nanos
            .fetch_add(saturating_nanos(time), Ordering::AcqRel);
        self.wake();
    }

    /// Sets the clock to `time`, which may be earlier: limiters tolerate backward clocks.
    pub fn set(&self, time: Duration) {
        self.shared
            .nanos
            .store(saturating_nanos(time), Ordering::Release);
        self.wake();
    }

    /// Returns true when both share one time.
    pub(super) fn is_same(&self, other: &ManualClock) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the time of the clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    pub(super) fn nanos(&self) -> u64 {
        self.shared.nanos.load(Ordering::Acquire)
    }

    /// Wakes the callers that sleep by this clock, after a change.
    fn wake(&self) {
        #[cfg(feature = "tokio")]
        self.shared.changed.notify_waiters();
    }

    /// Sleeps until the clock has reached `time`.
    #[cfg(feature = "tokio")]
    pub(super) async fn sleep_until(&self, time: Duration) {
        loop {
            // Before the clock is read, so that no change after it is missed.
            let changed = self.shared.changed.notified();
            if self.now() >= time {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
