//! Target of a waiter.

use std::{ops::Deref, time::Duration};

use super::Line;
use crate::{clock::Clock, decision::Decision};

/// A bucket, or a key of a table, whose tokens can be reserved ahead of time.
pub(crate) trait Reservable: Copy {
    type Line: Deref<Target = Line>;

    fn clock(&self) -> &Clock;
    /// Returns true when no caller is queued.
    fn is_queue_empty(self) -> bool;
    /// Returns the line to wait in, or `None` when there are lines for too many keys.
    fn line(self) -> Option<Self::Line>;
    /// Takes tokens that are available now.
    fn take(self, cost: u32) -> Decision;
    /// Takes tokens that are available now, unless callers are queued.
    fn take_unless_queued(self, cost: u32) -> Option<Decision>;
    /// Like [`Reservable::take_unless_queued`], where that is quick. `None` says nothing.
    fn take_on_fast_path(self, cost: u32) -> Option<Decision>;
    fn reserve(self, cost: u32, max_wait: Duration) -> Decision;
    fn refund(self, decision: Decision);
    /// Returns true when the reservation is still valid: nothing has voided it.
    fn is_reserved(self, decision: &Decision) -> bool;
}
