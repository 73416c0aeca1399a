//! Gateway: proxying, streaming, upgrades, and faults of upstreams.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod crowd;
mod faults;
mod forwarded;
mod http2;
mod proxy;
mod smuggling;
mod streaming;
mod tls;
mod upgrades;
