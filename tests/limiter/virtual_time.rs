//! Shared by the tests under virtual time.

use std::{future::Future, task::Poll, time::Duration};

use tokio::time::Instant;
use tollgate::{KeyedLimiter, Quota, TokioClock};

/// Returns true when the elapsed time is `expected`, or longer by a tick and tokio's millisecond.
pub fn elapsed_is(start: Instant, expected: Duration) -> bool {
    let elapsed = start.elapsed();
    elapsed >= expected && elapsed <= expected + Duration::from_millis(3)
}

pub async fn poll_once<T>(future: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut future = future;
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        },
    )
    .await
}

/// Creates a limiter in virtual time.
pub fn limiter(quota: Quota) -> KeyedLimiter<str> {
    let builder = KeyedLimiter::builder(quota).clock(TokioClock::new());
    builder.build().unwrap()
}
