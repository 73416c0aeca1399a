//! Line of the callers that wait for tokens of one bucket or key.

use std::fmt;

use crate::{
    decision::{Decision, Outcome, Refused},
    sync::{AtomicU64, Notified, Notify, Ordering, Semaphore, SemaphorePermit, const_fn},
};

/// FIFO queue with one permit. The waiter that holds the permit is the head of the line.
pub(crate) struct Line {
    /// Sum of the costs of all waiters. A hint, like the next field: no decision depends on it.
    queued: AtomicU64,
    /// Cost that the head has reserved, which is part of the sum.
    reserved: AtomicU64,
    permit: Semaphore,
    changed: Notify,
}

impl Line {
    const_fn! {
        pub(crate) const fn new() -> Line {
            Line {
                queued: AtomicU64::new(0),
                reserved: AtomicU64::new(0),
                permit: Semaphore::const_new(1),
                changed: Notify::const_new(),
            }
        }
    }

    /// Returns true when no caller is queued.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.load(Ordering::Relaxed) == 0
    }

    /// Counts a waiter for so many tokens. Also returns the tokens queued before it that are not
    /// reserved yet.
    pub(crate) fn enqueue(&self, tokens: u64) -> (Queued<'_>, u64) {
        let queued = self.queued.fetch_add(tokens, Ordering::Relaxed);
        let ahead = queued.saturating_sub(self.reserved.load(Ordering::Relaxed));
        (Queued { line: self, tokens }, ahead)
    }

    /// Notes the cost that the head has reserved, or 0.
    pub(super) fn set_reserved(&self, tokens: u32) {
        self.reserved.store(tokens.into(), Ordering::Relaxed);
    }

    /// Waits until the caller is the head of the line. The next waiter becomes the head when the
    /// permit is dropped.
    pub(crate) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is a permit.
        self.permit.acquire().await.ok()
    }

    /// Completes at the next call of [`Line::notify`] after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Notifies the head that its reservation may have been voided.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }
}

impl Default for Line {
    fn default() -> Line {
        Line::new()
    }
}

impl AsRef<Line> for Line {
    fn as_ref(&self) -> &Line {
        self
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("queued", &self.queued.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Tokens of a waiter, counted in its line until they are taken or the waiter leaves.
pub(crate) struct Queued<'l> {
    line: &'l Line,
    tokens: u64,
}

impl Queued<'_> {
    /// Returns the number of tokens to take next, at most the capacity. `None`: all are taken.
    pub(crate) fn next_piece(&self, capacity: u32) -> Option<u32> {
        let piece = u32::try_from(self.tokens).map_or(capacity, |left| left.min(capacity));
        (self.tokens > 0).then_some(piece)
    }

    /// Counts a piece no longer when it was taken. A piece above the capacity, which has been
    /// lowered since it was read, is to be taken again.
    pub(crate) fn settle(
        &mut self,
        piece: u32,
        taken: Result<Decision, Refused>,
    ) -> Result<(), Refused> {
        match taken {
            Ok(_) => {
                self.tokens -= u64::from(piece);
                self.line.queued.fetch_sub(piece.into(), Ordering::Relaxed);
                Ok(())
            }
            Err(refused) if refused.outcome() == Outcome::CostAboveCapacity => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.line.queued.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}
