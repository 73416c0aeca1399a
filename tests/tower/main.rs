//! The tower layer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "tokio")]
mod delay;
mod keys;
mod limits;
#[cfg(feature = "redis")]
mod redis;
mod responses;
mod service;
mod support;
