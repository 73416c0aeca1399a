//! Shared test code: servers under test, HTTP client, upstreams, Redis, nginx and timeouts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "server")]
pub mod browser;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod http2;
#[cfg(feature = "server")]
pub mod nginx;
#[cfg(feature = "server")]
pub mod programs;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "server")]
pub mod reload;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod upstream;

use std::{
    thread,
    time::{Duration, Instant},
};

#[cfg(feature = "server")]
pub use self::{
    http::{Client, Response},
    server::{ADMIN_TOKEN, AS_ADMIN, Launch, SLOW, Server},
    upstream::Upstream,
};

/// Timeout for events that normally happen at once. Generous, because test machines are shared.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Polls until `condition` returns true.
///
/// # Panics
/// If the condition is not true within [`TEST_TIMEOUT`]; the message contains `expected`.
#[track_caller]
pub fn eventually(expected: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not within {TEST_TIMEOUT:?}: {expected}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
