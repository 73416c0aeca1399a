//! Limits of bandwidth: readers, writers and bodies whose bytes cost tokens of a [`Bucket`] or a key, and
//! streams and sinks whose items do.
//!
//! ```
//! use tokio::io::AsyncReadExt;
//! use tollgate::{Bucket, Quota, io::Limited};
//!
//! /// 10 MB a second for all downloads together, 1 MB at once. A token is a byte.
//! static BANDWIDTH: Bucket = Bucket::new(Quota::per_second(10_000_000).with_capacity(1_000_000));
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let file: &[u8] = b"some file";
//! let mut download = Limited::new(file, &BANDWIDTH);
//! let mut text = String::new();
//! download.read_to_string(&mut text).await?;
//! # assert_eq!(text, "some file");
//! # Ok::<(), std::io::Error>(()) }).unwrap();
//! ```
//!
//! For each key of a limiter, such as a client's address, `Limited::new(socket, limiter.key(&address))`;
//! see [`KeyedLimiter::key`](crate::KeyedLimiter::key).
//!
//! A byte passes only when it is paid: readers and bodies hold back what they have read until then,
//! and writers pay before they write. Streams that wait stand in the line of
//! [`Bucket::acquire`], so those that share a bucket take turns.
//!
//! [`Bucket`]: crate::Bucket
//! [`Bucket::acquire`]: crate::Bucket::acquire

#[cfg(feature = "tower")]
mod body;
mod limited;
mod payment;
mod shared_bucket;
#[cfg(feature = "futures")]
mod sink;
#[cfg(feature = "futures")]
mod stream;

#[cfg(feature = "tower")]
pub use body::LimitedBody;
pub use limited::Limited;
pub use shared_bucket::SharedBucket;
#[cfg(feature = "futures")]
pub use sink::LimitedSink;
#[cfg(feature = "futures")]
pub use stream::LimitedStream;
