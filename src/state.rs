//! The packed word: what a bucket remembers, in 64 bits, and every way it may change. No atomics
//! and no clock here.
//!
//! ```text
//! 63                      S 0
//! | spent : L bits | stamp : S bits |      L + S = 64, chosen per quota
//! ```
//!
//! `spent` is what was taken and has not yet come back, in units of 2⁻ᶠ token; `stamp` is the tick
//! at which that was true. `available = capacity - spent`, so **the all-zero word is a full
//! bucket** and zeroed memory is a table of full buckets.
//!
//! **The clock ticks in tokens.** A tick refills exactly one unit (for fast and large quotas 2ᵏ of
//! them), and ticks are a function of absolute time, so refill is a subtraction and no remainder is
//! ever dropped: whatever the number of updates, what came back between two times is the difference
//! of their ticks. Of an interval quota, a tick is a fraction of the window. See [`Layout`] for how
//! wide the parts are, and why nothing wraps.
//!
//! **The picture.** On the axis of refilled units, `stamp + spent` is the end of what has been
//! sold. Every charge is an interval on that axis, they never overlap, and one that is used at time
//! `r` lies within `[r, r + capacity]`. Hence in any time at most capacity + refill is used. A
//! waiter is sold an interval that ends later than `now + capacity`, and is ready when it ends a
//! capacity from now.
//!
//! **Giving back.** [`Layout::refund`] undoes one charge. Let `r` be the time the charge is used,
//! and `latest` the latest use of anything sold. What lies behind the refunded interval can be
//! moved to the front, but not before its own use, so the end can be pulled back by at least
//! `charge - (latest - r)`; pulling it back by more can sell an interval twice. That bound needs no
//! history and holds whatever other refunds did before, which is why it was taken over the finer
//! `spent after the charge - time since`: that one mints tokens when refunds overtake one another.
//! While somebody waits, `latest` is in the future and not known after another refund, so then only
//! the last one sold gives back: all of it. A charge in the middle of the queue leaves a hole, to
//! be sold again as that very interval: see [`holes`](crate::holes).
//!
//! **Stale and backward clocks.** `now` is never taken to be before the stamp, and the stamp never
//! moves back. A thread that read the clock, slept, and meets a newer stamp decides as of that
//! stamp.

mod layout;
mod scale;
mod terms;
#[cfg(test)]
mod tests;
mod transition;

pub(crate) use layout::Layout;
pub(crate) use terms::Terms;
pub(crate) use transition::Denied;

/// A word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Units taken and not yet back.
    pub(crate) spent: u64,
    /// The tick at which `spent` was true.
    pub(crate) stamp: u64,
}
