//! Leases: a process takes tokens of a key in batches and spends them from its own memory.
//!
//! The [`protocol`] is a state machine without I/O and without a clock: [`protocol::Holder`] is the
//! state of one process for one key, and [`protocol::Balance`] the word that tokens are spent from.
//! `lease.lua` is the other side: it runs inside the server, and stores the bucket and the leases of
//! a key. `reference` has a second implementation of the script, and a simulation that runs it with
//! many holders over a network that loses, delays, duplicates and reorders messages, with clocks
//! that disagree.
//!
//! Modules depend in one direction: [`protocol`] ← [`key`] ← [`keys`] ← [`driver`].
//!
//! - [`protocol`]: the holder's side, as pure state transitions.
//! - [`key`], [`keys`]: the holders of a process, shared by its threads.
//! - [`driver`]: messages, time and decisions of lease mode.
//! - `reference`: the server's side and the simulation, for tests only.
//!
//! **The bound.** Tokens are debited from the bucket before they are spent, and at most
//! `floor(fraction × capacity)` tokens are out on lease. In any interval, each admitted token was
//! either debited within that interval or out on lease when it began. Hence in any time `t`, over
//! all processes,
//!
//! ```text
//! admitted ≤ capacity + refill(t) + floor(fraction × capacity)
//! ```
//!
//! and since the bucket was new, `admitted ≤ capacity + refill(t)`. A crash loses the tokens that
//! were out on lease, and admits nothing. Time is the server's. If that clock jumps ahead, leases
//! end too early on the server, and more tokens are out for one lifetime. If the server loses its
//! data, the bucket is full while old leases are still spent.
//!
//! **The protocol.** A holder numbers its requests. Each request carries the number of the last
//! reply that arrived (`acked`), how many unspent tokens of the lease are kept (`kept`) or returned
//! (`returned`), how many tokens callers are waiting for (`need`), and how many it wants (`want`).
//! Tokens that are neither kept nor returned have been spent.
//!
//! - The server ignores a request that is older than one it has answered. It sends the same reply
//!   to a repeated request. So duplicated, late and reordered requests change nothing.
//! - A reply counts only for the request in flight. Once a holder sends another request, it never
//!   uses an earlier reply. The server takes back what that reply granted as soon as it reads an
//!   `acked` that is not the last request it answered. So lost and late replies cost nothing.
//! - A granted lease ends a lifetime after the request *arrived*, by the server's clock. The holder
//!   stops spending a lifetime after it *sent* the request, less a margin of a sixteenth, by its own
//!   monotonic clock. That is earlier, as long as neither clock runs six percent faster than the
//!   other.
//! - Returned tokens are credited by the rule in `reference::leased_bucket`, which never credits
//!   tokens that refill has already credited.
//!
//! Small quotas, and costs above the number of tokens that may be out on lease, are decided one
//! request at a time on the same bucket.

pub(super) mod driver;
pub(crate) mod key;
pub(crate) mod keys;
pub(crate) mod protocol;
#[cfg(test)]
mod reference;
