//! Tests of the layer in axum and hyper servers, and of the examples of this package.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod axum;
mod browser;
#[path = "../embedded.rs"]
#[expect(dead_code, reason = "only the example itself runs `main`")]
mod embedded;
mod examples;
mod hyper;
