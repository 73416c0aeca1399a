//! HTTP behaviour of the server: responses, headers, connection limits, protocols, and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod connection_limits;
mod fuzz;
mod headers;
mod http2;
mod load;
mod log;
mod refusals;
mod responses;
mod robustness;
mod unread;
