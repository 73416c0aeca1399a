//! HTTP behaviour of the server: responses, headers, bounds, protocols, and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod bounds;
mod fuzz;
mod headers;
mod http2;
mod load;
mod log;
mod refusals;
mod robust;
