//! Payment of a stream: tokens taken at once, or awaited in the line of the bucket. An item of a
//! stream or sink counts as its cost in bytes, of a token each.

use std::{
    fmt,
    num::NonZero,
    task::{Context, Poll, ready},
};

use super::shared_bucket::{SharedBucket, Waiting};

/// Longest piece that is paid at once, in bytes. Longer ones would save few calls, and hold up the
/// other streams of the bucket.
const MAX_PIECE: u64 = 16 * 1024;

/// Bytes that a stream has paid, and the payment that it waits for.
pub(super) struct Payment {
    bucket: SharedBucket,
    /// Bytes per token.
    unit: NonZero<u32>,
    /// Bytes that may pass when the wait is over: the rest of the last token among them.
    paid: u64,
    waiting: Option<Waiting>,
}

impl Payment {
    pub(super) fn new(bucket: SharedBucket) -> Payment {
        Payment {
            bucket,
            unit: NonZero::<u32>::MIN,
            paid: 0,
            waiting: None,
        }
    }

    pub(super) fn with_unit(self, unit: NonZero<u32>) -> Payment {
        Payment { unit, ..self }
    }

    /// Returns another payment from the same bucket.
    pub(super) fn another(&self) -> Payment {
        Payment::new(self.bucket.clone()).with_unit(self.unit)
    }

    /// Returns the number of bytes of the next piece, of at most `length` bytes: no more than a full
    /// bucket pays.
    pub(super) fn piece(&self, length: usize) -> usize {
        let full = u64::from(self.bucket.capacity()) * u64::from(self.unit.get());
        // At most `length`.
        (length as u64).min(full).min(MAX_PIECE) as usize
    }

    /// Pays for `bytes`, less what is paid already. Completes when [`Payment::poll_paid`] does.
    pub(super) fn start(&mut self, bytes: u64) {
        let Some(missing) = bytes.checked_sub(self.paid).filter(|missing| *missing > 0) else {
            return;
        };
        let unit = u64::from(self.unit.get());
        let tokens = missing.div_ceil(unit);
        self.paid += tokens * unit;
        if let Ok(cost) = u32::try_from(tokens)
            && self.bucket.takes_at_once(cost)
        {
            return;
        }
        self.waiting = Some(self.bucket.acquire_all(tokens));
    }

    /// Pays for `bytes` that pass as soon as [`Payment::poll_paid`] completes.
    #[cfg(any(feature = "futures", feature = "tower"))]
    pub(super) fn pay(&mut self, bytes: u64) {
        self.start(bytes);
        self.spend(bytes);
    }

    /// Completes when all bytes of [`Payment::start`] are paid.
    pub(super) fn poll_paid(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Poll::Ready(())
    }

    /// Lets paid bytes pass.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.paid = self.paid.saturating_sub(bytes);
    }
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("bucket", &self.bucket)
            .field("unit", &self.unit)
            .field("paid", &self.paid)
            .field("waiting", &self.waiting.is_some())
            .finish()
    }
}
