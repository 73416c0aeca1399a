//! Property tests against an exact rational reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admission;
mod contract;
mod decisions;
mod drift;
#[cfg(feature = "std")]
mod keyed;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod reference;
mod times;
