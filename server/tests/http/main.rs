//! HTTP behaviour of the server: responses, headers, connection limits, protocols, and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admission;
mod connection_limits;
mod fuzz;
mod headers;
mod http2;
mod load;
mod log;
mod refusals;
mod refused_uploads;
mod responses;
mod robustness;
mod unread;
