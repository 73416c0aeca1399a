//! Token-bucket rate limiting, inside your process: a bucket is one atomic word, a table of buckets
//! is one piece of memory.
//!
//! ```
//! use tollgate::{Bucket, Quota};
//!
//! // 10 at once, then 5 a second. A static: no lazy cell, no allocation. A zero here does not compile.
//! static UPLOADS: Bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
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
//! | wait in turn instead of being refused | `acquire` on either (feature `tokio`) and on a `RedisLimiter`, or [`Bucket::reserve_at`] without tokio |
//! | limit across processes and machines | [`RedisLimiter`] (feature `redis`) |
//! | test without sleeping | [`ManualClock`], or the methods that end in `_at` |
//! | limit who calls an axum, tonic or hyper service | [`tower::RateLimitLayer`] (feature `tower`) |
//! | put it in front of a service as it is | the binary `tollgate` (feature `server`) |
//!
//! # What is promised
//!
//! - **Never more than capacity and refill**, in any time, to within [`Quota::resolution`]:
//!   whatever threads, clocks that step back, refunds, or changes of the quota do. The concurrent
//!   parts are model-checked, the arithmetic is tested against an exact reference, and no remainder
//!   of a refill is ever dropped, so there is no drift.
//! - **No lock, no allocation, no wait** in a decision on a bucket, or on a key that the table
//!   knows.
//! - **A refusal writes nothing**: attack traffic costs a load, and scales with cores.
//! - **Times are exact**: refused just before [`Decision::retry_after`], allowed at it.
//! - **Memory is fixed** when a limiter is made: some 27 bytes a key.
//!
//! # What it costs
//!
//! | decision | one thread | two threads at once, together |
//! | --- | ---: | ---: |
//! | on a bucket, allowed | 10 ns | 17 ns |
//! | on a bucket, refused | 10 ns | |
//! | on a known key, of a thousand | 20 ns | 17 ns |
//! | of a million | 97 ns | |
//! | of a million, in [batches](KeyedLimiter::try_acquire_batch) | 51 ns | |
//!
//! A bucket takes no heap, and a key 27 bytes of it. Two cores of a shared virtual machine, of
//! which some 9 ns are the reading of its clock; the README has the peers beside it, and the
//! command that measures them.
//!
//! # Features
//!
//! `std` (default) has the clock and the table. Without it the crate is `no_std`, without `alloc`:
//! [`Quota`], [`Bucket`] and [`Decision`], with time passed in. `tokio` adds waiting, `serde`
//! quotas in files, `tower` the layer for web services, `redis` limits that many processes share,
//! `server` the binary.
// What is behind a feature that is off has its page elsewhere.
#![cfg_attr(
    not(feature = "redis"),
    doc = "",
    doc = "[`RedisLimiter`]: <https://docs.rs/tollgate/latest/tollgate/struct.RedisLimiter.html>"
)]
#![cfg_attr(
    not(feature = "tower"),
    doc = "",
    doc = "[`tower::RateLimitLayer`]: <https://docs.rs/tollgate/latest/tollgate/tower/struct.RateLimitLayer.html>"
)]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
// Without std there is no table: what only it asks of a word and a decision has no caller then.
#![cfg_attr(not(feature = "std"), allow(dead_code))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod bucket;
#[cfg(feature = "std")]
mod clock;
// Without Redis nobody waits for what cannot be reserved.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
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
// The grain of Redis' scripts has no other caller.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
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
pub use keyed::{
    BuildError, DefaultHashBuilder, DefaultHasher, KeyedLimiter, KeyedLimiterBuilder, KeyedStats,
    WhenFull,
};
pub use quota::{Quota, QuotaError};
#[cfg(feature = "redis")]
pub use redis::{
    DecisionSource, RedisError, RedisFallback, RedisLimiter, RedisLimiterBuilder, RedisStats,
    SharedDecision,
};

/// The README's examples, run as tests.
#[cfg(all(doctest, feature = "tokio", feature = "serde"))]
#[doc = include_str!("../README.md")]
mod readme {}
