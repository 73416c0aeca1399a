//! Servers, clients and waiting, shared by the tests of several packages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod nginx;
#[cfg(feature = "server")]
pub mod parts;
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
    server::{Launch, SLOW, Server},
    upstream::Upstream,
};

/// How long a test waits for what should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `holds` returns true.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
