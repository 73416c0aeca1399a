//! Origin of a decision: what it may be refunded to.

use core::sync::atomic::{AtomicU32, Ordering};

/// Next number of a bucket or a limiter. `core`'s atomic and not loom's: the number decides nothing
/// that a model checks.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Draws a number that identifies a bucket or a limiter in this process. It is never 0. Numbers
/// repeat after 2³² draws, long after decisions of the first round were made.
#[cold]
pub(crate) fn draw() -> u32 {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number != 0 {
            return number;
        }
    }
}

/// Distributes a number over 64 bits, to be combined with the hash of a key.
#[cfg(feature = "std")]
pub(crate) fn spread(number: u32) -> u64 {
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Origin of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Identifies the bucket, or the limiter and the key. A refund elsewhere is an error.
    pub(crate) maker: u64,
    /// Identifies the state that was charged: the table or rule of a limiter, the incarnation of a
    /// bucket in Redis, or the holder of a lease. A refund to a later one gives nothing back.
    pub(crate) incarnation: u64,
    /// Epoch of a leased key: see `Key::unspend` of the lease protocol.
    #[cfg(feature = "redis")]
    pub(crate) epoch: u64,
}

impl Origin {
    /// Returns the origin of a decision on a bucket, or on a key of a limiter.
    #[inline(always)]
    pub(crate) const fn new(maker: u64, incarnation: u64) -> Origin {
        Origin {
            maker,
            incarnation,
            #[cfg(feature = "redis")]
            epoch: 0,
        }
    }
}
