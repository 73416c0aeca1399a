//! Limiters in memory and in Redis: behaviour, waiting, text, and public types.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "std")]
mod behaviour;
#[cfg(feature = "std")]
mod compound;
#[cfg(feature = "tokio")]
mod compound_wait;
#[cfg(feature = "tokio")]
mod io;
#[cfg(feature = "std")]
mod keyed;
#[cfg(feature = "tokio")]
mod pause;
#[cfg(all(feature = "redis", feature = "tower"))]
mod public_types;
mod regressions;
#[cfg(feature = "serde")]
mod serde;
#[cfg(feature = "tokio")]
mod virtual_time;
#[cfg(feature = "tokio")]
mod wait;
