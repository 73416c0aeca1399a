//! Gateway: proxying, streaming, upgrades and upstream failures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod browser;
mod client_headers;
mod client_share;
mod cors;
mod delay;
mod failures;
mod forwarded;
mod http2;
mod idle_clients;
mod open_files;
mod proxy;
mod smuggling;
mod streaming;
mod tls;
mod upgrades;
