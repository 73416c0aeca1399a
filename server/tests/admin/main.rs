//! Admin API, `/check` and `/metrics`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod changes;
mod check;
mod guessing;
mod listener;
mod metrics;
mod open;
mod race;
mod refusals;
