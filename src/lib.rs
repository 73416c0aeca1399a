//! Token buckets.
#![cfg_attr(not(feature = "std"), no_std)]

mod bucket;
#[cfg(feature = "std")]
mod clock;
mod decision;
mod quota;
mod request;
mod state;
mod sync;

pub use bucket::Bucket;
#[cfg(feature = "std")]
pub use clock::ManualClock;
pub use decision::{Decision, Outcome, Refused};
pub use quota::{Quota, QuotaError};
