//! Futures of callers that wait.

use std::future::Future;

use test_support::redis::TEST_TIMEOUT;
use tokio::time::timeout;

/// Polls a future, and asserts that it waits.
macro_rules! waiting {
    ($name:ident = $future:expr) => {
        let mut $name = Box::pin($future);
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(50), &mut $name)
                .await
                .is_err(),
            "it does not wait"
        );
    };
}

/// Awaits a future that must complete soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, future)
        .await
        .expect("completes in time")
}
