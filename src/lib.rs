//! Token-bucket rate limiting, inside your process: a bucket is one atomic word, a table of buckets is one piece of memory.
//!
//! ```
//! use tollgate::{Bucket, Quota};
//!
//! // 10 at once, then 5 a second. A static: no lazy cell, no allocation. A zero here does not compile.
//! static UPLOADS: Bucket = Bucket::new(Quota::per_second(5).capacity(10));
//!
//! # #[cfg(feature = "std")]
//! if UPLOADS.try_acquire(1).is_allowed() {
//!     // upload
//! }
//! ```
//!
//! # Which type for which job
//!
//! | job | type |
//! | --- | --- |
//! | say what is allowed | [`Quota`], in code, as text, or in a configuration file (feature `serde`) |
//! | limit one thing: uploads, an outgoing API, log lines | [`Bucket`] |
//! | limit each of many: clients, API keys, tenants | [`KeyedLimiter`] |
//! | know whether, and when again | [`Decision`]; as an error, [`Refused`] |
//! | wait in turn instead of being refused | `acquire` on either (feature `tokio`), or [`Bucket::reserve_at`] without tokio |
//! | limit across processes and machines | `RedisLimiter` (feature `redis`) |
//! | test without sleeping | [`ManualClock`], or the methods that end in `_at` |
//! | limit who calls an axum, tonic or hyper service | `tower::RateLimitLayer` (feature `tower`) |
//! | put it in front of a service as it is | the binary `tollgate` (feature `server`) |
//!
//! # What is promised
//!
//! - **Never more than capacity and refill**, in any time, to within [`Quota::resolution`]: whatever threads, clocks that step
//!   back, refunds, or changes of the quota do. The concurrent parts are model-checked, the arithmetic is tested against an
//!   exact reference, and no remainder of a refill is ever dropped, so there is no drift.
//! - **No lock, no allocation, no wait** in a decision on a bucket, or on a key that the table knows.
//! - **A refusal writes nothing**: attack traffic costs a load, and scales with cores.
//! - **Times are exact**: refused just before [`Decision::retry_after`], allowed at it.
//! - **Memory is fixed** when a limiter is made: some 27 bytes a key.
//!
//! What it costs, in nanoseconds and bytes and beside its peers, is in the README, with the command that measures it.
//!
//! # Features
//!
//! `std` (default) has the clock and the table. Without it the crate is `no_std`, without `alloc`: [`Quota`], [`Bucket`] and
//! [`Decision`], with time passed in. `tokio` adds waiting, `serde` quotas in files, `tower` the layer for web services,
//! `redis` limits that many processes share, `server` the binary.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
// Without std there is no table, and without redis no script: what only they ask of a word has no caller then.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bucket;
#[cfg(feature = "std")]
mod clock;
mod decision;
mod holes;
#[cfg(feature = "std")]
mod keyed;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod request;
#[cfg(feature = "serde")]
mod serde;
mod state;
mod sync;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tokio")]
mod wait;

pub use bucket::Bucket;
#[cfg(feature = "std")]
pub use clock::ManualClock;
pub use decision::{Decision, Outcome, Refused};
#[cfg(feature = "std")]
pub use keyed::{BuildError, KeyedLimiter, KeyedLimiterBuilder, Stats, WhenFull};
pub use quota::{Quota, QuotaError};
#[cfg(feature = "redis")]
pub use redis::{OnError, RedisError, RedisLimiter, RedisLimiterBuilder, RedisStats, SharedDecision, Source};

/// The README's examples, run as tests.
#[cfg(all(doctest, feature = "tokio", feature = "serde"))]
#[doc = include_str!("../README.md")]
mod readme {}
