//! The packed word: the state of a bucket in 64 bits, and its transitions.
//!
//! This module imports `core` only: no atomics, no clock, no quota.
//!
//! ```text
//! 63                      S 0
//! | spent : L bits | stamp : S bits |      L + S = 64, chosen per quota
//! ```
//!
//! `spent` is the amount taken and not yet refilled, in units of 2⁻ᶠ token; `stamp` is the tick at
//! which `spent` was computed. `available = capacity - spent`, so **the all-zero word is a full
//! bucket** and zeroed memory is a table of full buckets.
//!
//! **The clock ticks in tokens.** A tick refills exactly one unit (2ᵏ units for fast and large
//! quotas), and ticks are a function of absolute time. Refill is therefore a subtraction, and no
//! remainder is ever dropped: the refill between two times is the difference of their ticks,
//! regardless of the number of updates. For interval quotas, a tick is a fraction of the window.
//! [`Layout`] documents the field widths and the reason that nothing wraps.
//!
//! **The unit axis.** On the axis of refilled units, `stamp + spent` is the end of the sold range.
//! Every charge is an interval on that axis. Charges never overlap, and a charge used at time `r`
//! lies within `[r, r + capacity]`. Hence the usage in any time span is at most capacity + refill.
//! A waiter is sold an interval that ends later than `now + capacity`. The waiter is ready when the
//! interval ends one capacity from now.
//!
//! **Refunds.** [`Layout::refund`] undoes one charge. Let `r` be the time at which the charge is
//! used, and `latest` the latest use of any sold unit. The units behind the refunded interval can
//! move to the front, but not before their own use. The end can therefore be pulled back by at
//! least `charge - (latest - r)`; pulling it back further can sell an interval twice. This bound
//! needs no history and holds after any other refunds. It was chosen over the finer bound `spent
//! after the charge - time since`, which mints tokens when refunds overtake one another. While
//! there are waiters, `latest` lies in the future and is unknown after another refund, so only the
//! last charge sold gives units back, and it gives back all of them. Callers that wait in line have
//! at most one such charge at a time, so they lose nothing.
//!
//! **Stale and backward clocks.** `now` is never treated as earlier than the stamp, and the stamp
//! never decreases. A thread that read the clock, was preempted, and finds a newer stamp decides as
//! of that stamp.

mod layout;
mod scaled_quota;
mod snapshot;
#[cfg(test)]
mod tests;
mod tick_ratio;

pub(crate) use layout::{Layout, LayoutParams, ReserveError};
pub(crate) use scaled_quota::ScaledQuota;
pub(crate) use snapshot::State;
