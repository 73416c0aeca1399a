//! Property tests: comparison with references in exact rational arithmetic, and invariants.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admission;
mod compound;
mod decision_times;
mod decisions;
mod drift;
#[cfg(feature = "std")]
mod keyed;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod reference;
mod resolution;
