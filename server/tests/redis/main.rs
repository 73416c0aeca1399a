//! Servers that share limits through Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bans;
mod delay;
mod limits;
mod load;
mod policies;
mod routes;
