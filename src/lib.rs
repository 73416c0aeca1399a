//! Token buckets.
#![cfg_attr(not(feature = "std"), no_std)]

mod bucket;
#[cfg(feature = "std")]
mod clock;
mod decision;
#[cfg(feature = "std")]
mod keyed;
mod quota;
mod request;
mod state;
mod sync;

pub use bucket::Bucket;
#[cfg(feature = "std")]
pub use clock::ManualClock;
pub use decision::{Decision, Outcome, Refused};
#[cfg(feature = "std")]
pub use keyed::{BuildError, KeyedLimiter, KeyedLimiterBuilder, Stats, WhenFull};
pub use quota::{Quota, QuotaError};
