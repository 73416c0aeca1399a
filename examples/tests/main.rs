//! The layer around real axum and hyper services, and the examples of this package.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod axum;
mod examples;
mod hyper;
