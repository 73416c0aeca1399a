//! Clock of tokio.

use std::time::Duration;

use tokio::time::Instant;

/// Clock of tokio's [`Instant`], which follows `tokio::time::pause` and `advance`: code that waits
/// can be tested in virtual time.
///
/// Create it in the runtime whose time it follows: the time before its creation is zero.
///
/// ```
/// use {std::time::Duration, tokio::time::Instant, tollgate::{Bucket, Quota, TokioClock}};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let bucket = Bucket::with_clock(Quota::per_second(2).with_capacity(1), TokioClock::new());
/// let start = Instant::now();
/// for _ in 0..10 {
///     bucket.acquire(1).await?;
/// }
/// assert_eq!(start.elapsed(), Duration::from_millis(4500)); // virtual time, at once
/// # Ok::<(), tollgate::Refused>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
}

impl TokioClock {
    /// Creates a clock at time zero.
    #[must_use]
    pub fn new() -> TokioClock {
        TokioClock {
            origin: Instant::now(),
        }
    }

    /// Returns the time since the clock was created.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl Default for TokioClock {
    fn default() -> TokioClock {
        TokioClock::new()
    }
}
