//! Token buckets.
#![cfg_attr(not(feature = "std"), no_std)]
// Without std there is no table, and what only the table asks of a word has no caller.
#![cfg_attr(not(feature = "std"), allow(dead_code))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bucket;
#[cfg(feature = "std")]
mod clock;
mod decision;
mod holes;
#[cfg(feature = "std")]
mod keyed;
mod quota;
mod request;
#[cfg(feature = "serde")]
mod serde;
mod state;
mod sync;
#[cfg(feature = "tokio")]
mod wait;

pub use bucket::Bucket;
#[cfg(feature = "std")]
pub use clock::ManualClock;
pub use decision::{Decision, Outcome, Refused};
#[cfg(feature = "std")]
pub use keyed::{BuildError, KeyedLimiter, KeyedLimiterBuilder, Stats, WhenFull};
pub use quota::{Quota, QuotaError};
