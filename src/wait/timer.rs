//! Timers: tokio's, for asynchronous waiters.

use std::time::Duration;

/// Timer of a waiter.
pub(crate) trait Timer: Copy + Send {
    /// Sleeps for at least `time`.
    fn sleep(self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Timer of the tokio runtime that polls the waiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }
}
