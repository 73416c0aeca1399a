//! Token-bucket rate limiting in process: a bucket is one atomic word, and a table of buckets is
//! one block of memory.
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
//! # Types by task
//!
//! | task | type |
//! | --- | --- |
//! | define a limit | [`Quota`], in code, as text, or in a configuration file (feature `serde`) |
//! | limit one resource: uploads, an outgoing API, log lines | [`Bucket`] |
//! | limit a request by several of these, all or nothing | [`all`] |
//! | limit each of many keys: clients, API keys, tenants | [`KeyedLimiter`] |
//! | read the outcome and the time of a retry | [`Decision`]; as an error, [`Refused`] |
//! | wait in FIFO order instead of being refused | `acquire` on either (feature `tokio`) and on a `RedisLimiter`, or [`Bucket::reserve_at`] without tokio |
//! | share limits between the processes of a machine | [`KeyedLimiterBuilder::shared_file`] (feature `shared`) |
//! | share limits between machines | [`RedisLimiter`] (feature `redis`) |
//! | limit the bandwidth of a reader, a writer or a body | [`io::Limited`] (feature `tokio`) |
//! | test without sleeping | [`ManualClock`], or the methods that end in `_at` |
//! | limit the callers of an axum, tonic or hyper service | [`tower::RateLimitLayer`] (feature `tower`) |
//! | limit the callers of an unmodified service | the binary `tollgate`, in the package `tollgate-server` |
//!
//! # Guarantees
//!
//! - **Never more than capacity and refill** in any time span, to within [`Quota::resolution`]:
//!   regardless of threads, clocks that step back, refunds, and changes of the quota. The
//!   concurrent parts are model-checked, and the arithmetic is tested against an exact reference.
//!   No remainder of a refill is ever dropped, so there is no drift.
//! - **No lock, no allocation, no wait** in a decision on a bucket, or on a key that the table
//!   knows.
//! - **A refusal writes nothing**: attack traffic costs a load, and scales with cores.
//! - **Times are exact**: an attempt just before [`DecisionView::retry_after`] is refused, and an
//!   attempt exactly at it is allowed.
//! - **Memory is fixed** when a limiter is created: some 27 bytes a key.
//!
//! # Cost
//!
//! | decision | one thread | two threads, combined throughput |
//! | --- | ---: | ---: |
//! | on a bucket, allowed | 10 ns | 17 ns |
//! | on a bucket, refused | 10 ns | |
//! | on a known key, of a thousand | 20 ns | 17 ns |
//! | of a million | 97 ns | |
//! | of a million, in [batches](KeyedLimiter::try_acquire_batch) | 51 ns | |
//!
//! A [`Bucket`] is 256 bytes and allocates nothing on the heap; a key takes 27 bytes of heap. The
//! figures were measured on two cores of a shared virtual machine, where reading the clock takes
//! some 9 ns. The README lists the results of other libraries and the command that measures them.
//!
//! # Features
//!
//! - `std` (default): the process-wide clock and the table of keys. Without it the crate is
//!   `no_std` without `alloc`: [`Quota`], [`Bucket`] and [`Decision`], with the time passed in.
//! - `tokio`: waiting for tokens, and bandwidth of readers and writers.
//! - `futures`: streams and sinks whose items cost tokens.
//! - `serde`: quotas in configuration files.
//! - `tower`: the layer for web services.
//! - `redis`: limits shared by many processes.
//! - `shared`: a table of keys in a file that the processes of a machine share. Linux, 64 bits.
//! - `portable-atomic`: targets without 64-bit compare-and-swap, such as Cortex-M and most 32-bit
//!   RISC-V. There the lock-free promise does not hold: portable-atomic guards the word by a spin
//!   lock, or by a critical section when the application enables its feature `critical-section` or
//!   `unsafe-assume-single-core`. On a single core whose interrupt handlers use a bucket, enable one
//!   of these: a handler that interrupts the holder of a spin lock would wait forever.
// Links to items of disabled features lead to docs.rs.
#![cfg_attr(
    not(feature = "redis"),
    doc = "",
    doc = "[`RedisLimiter`]: <https://docs.rs/tollgate/latest/tollgate/struct.RedisLimiter.html>"
)]
#![cfg_attr(
    not(feature = "shared"),
    doc = "",
    doc = "[`KeyedLimiterBuilder::shared_file`]: <https://docs.rs/tollgate/latest/tollgate/struct.KeyedLimiterBuilder.html#method.shared_file>"
)]
#![cfg_attr(
    not(feature = "tower"),
    doc = "",
    doc = "[`tower::RateLimitLayer`]: <https://docs.rs/tollgate/latest/tollgate/tower/struct.RateLimitLayer.html>"
)]
#![cfg_attr(
    not(feature = "tokio"),
    doc = "",
    doc = "[`io::Limited`]: <https://docs.rs/tollgate/latest/tollgate/io/struct.Limited.html>"
)]
// The only unsafe code is that of a mapped file.
#![cfg_attr(not(feature = "shared"), forbid(unsafe_code))]
// The pages name the feature that an item needs, and not the private cfg of the model checks.
#![cfg_attr(
    docsrs,
    feature(doc_cfg),
    doc(auto_cfg(hide(tollgate_loom, tollgate_torture)))
)]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
// Without std there is no table, and the methods of words and decisions that only the table uses
// have no caller.
#![cfg_attr(not(feature = "std"), allow(dead_code))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod attempt;
mod bucket;
mod cache_padded;
#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "tokio")]
mod clock_margin;
mod compound;
mod decision;
mod duration;
#[cfg(feature = "tokio")]
pub mod io;
#[cfg(feature = "std")]
mod keyed;
mod origin;
// The unpacked layout of the Redis scripts has no other caller.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod quota;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tower")]
mod requested_pause;
// The same holds for the numbers that the scripts get.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod state;
mod sync;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tokio")]
mod wait;

pub use bucket::Bucket;
#[cfg(feature = "tokio")]
pub use clock::TokioClock;
#[cfg(feature = "std")]
pub use clock::{Clock, ManualClock};
#[cfg(feature = "std")]
pub use compound::all_on_key;
pub use compound::{All, Ask, CompoundDecision, LimitCountError, MAX_LIMITS, all, all_of};
#[cfg(feature = "redis")]
pub use decision::DecisionSource;
pub use decision::{Decision, DecisionView, Outcome, RefundError, Refused};
#[cfg(feature = "std")]
pub use keyed::{
    BuildError, DefaultHashBuilder, DefaultHasher, KeyedLimiter, KeyedLimiterBuilder, KeyedStats,
    TooManyPauses, WhenFull,
};
#[cfg(feature = "shared")]
pub use keyed::{OpenError, SharedBuilder};
pub use quota::{Quota, QuotaError};
#[cfg(feature = "redis")]
pub use redis::{
    RedisAsk, RedisCompoundDecision, RedisError, RedisFallback, RedisLimiter, RedisLimiterBuilder,
    RedisStats, all_in_redis, all_in_redis_within_each,
};
#[cfg(tollgate_loom)]
#[doc(hidden)]
pub use sync::mortal::{Death, with_steps};
#[cfg(tollgate_torture)]
#[doc(hidden)]
pub use sync::torture;

/// Runs the example of the page on shared tables as a test.
#[cfg(all(doctest, feature = "shared"))]
#[doc = include_str!("../docs/shared-table.md")]
mod shared_table {}

/// Runs the examples of the README as tests.
#[cfg(all(doctest, feature = "tokio", feature = "serde"))]
#[doc = include_str!("../README.md")]
mod readme {}
