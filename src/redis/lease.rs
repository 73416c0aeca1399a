//! Leases: a process takes tokens of a key in batches and spends them from its own memory.
//!
//! The protocol is two state machines without I/O and without a clock of their own: [`Ledger`] is
//! what the server keeps for a key, [`Node`] what a process knows of it, [`Balance`] the word it
//! spends from. A simulation plays both against each other over a network that loses, delays,
//! doubles and reorders, with clocks that disagree. `lease.lua` is the ledger once more, inside the
//! server.
//!
//! **The bound.** Tokens are debited in the ledger before they are spent, and never more than
//! `floor(fraction × capacity)` are out on lease. In any time, what is admitted was either debited
//! in that time or out on lease when it began. Hence in any time `t`, over all processes,
//!
//! ```text
//! admitted ≤ capacity + refill(t) + floor(fraction × capacity)
//! ```
//!
//! and since a bucket was fresh, `admitted ≤ capacity + refill(t)`. A crash loses what was out and
//! admits nothing. Time is the server's; if that clock leaps ahead, leases end too early in the
//! ledger, and more is out for a lifetime. If the server loses its data, the bucket is fresh while
//! old leases are still spent.
//!
//! **The protocol.** A process numbers its requests. Each says which answer was the last to arrive
//! (`known`), how many tokens are left of what was leased and are kept (`kept`) or handed back
//! (`back`), what somebody is waiting for (`need`), and how many it wants (`want`). What is neither
//! kept nor handed back has been spent.
//!
//! - A request that is older than one answered is ignored; the same one again gets the same answer.
//!   So duplicates, late and reordered requests change nothing.
//! - An answer counts only for the request that is out. Once a process sends another, it never uses
//!   an earlier answer, and the ledger takes back what that had granted as soon as it reads a
//!   `known` that is not the last request it answered. So lost and late answers cost nothing.
//! - A granted lease ends a lifetime after the request *arrived*, by the server's clock. The
//!   process stops spending a lifetime after it *sent* the request, less a margin of a sixteenth,
//!   by its own monotonic clock: earlier, as long as neither clock runs six percent faster than the
//!   other.
//! - Tokens that come back are given back by the rule in [`ledger`], which cannot give what refill
//!   has given already.
//!
//! Small quotas, and costs above what may be out on lease, are decided one by one on the same
//! bucket.

mod balance;
mod bar;
pub(crate) mod key;
pub(crate) mod keys;
#[cfg(test)]
mod ledger;
mod node;
#[cfg(test)]
mod script;
mod settings;
#[cfg(test)]
mod simulation;

use balance::{Balance, MOST_TOKENS};
#[cfg(test)]
use ledger::Ledger;
use node::Node;
pub(crate) use node::{Answer, Step};
pub(crate) use settings::Settings;

use crate::state::{Layout, ScaledQuota, State};

/// What a process asks of the ledger of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Which key of which process: a random number below 2⁵³, another one after every start, and
    /// after the key was forgotten.
    pub(crate) node: u64,
    /// Larger than in any request before.
    pub(crate) seq: u64,
    /// The request whose answer was the last to arrive; 0 if none has.
    pub(crate) known: u64,
    /// Tokens still held, to be spent or handed back later.
    pub(crate) kept: u32,
    /// Tokens handed back.
    pub(crate) back: u32,
    /// What somebody is waiting for: granted whole, on top of what is kept, or nothing is.
    pub(crate) need: u32,
    /// How many it would like to have, less being welcome too.
    pub(crate) want: u32,
}

/// What the ledger answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) seq: u64,
    pub(crate) granted: u32,
    /// What may still be spent of what was kept: all of it, or, where the lease had ended, nothing.
    pub(crate) kept: u32,
    /// The server's time, in microseconds.
    pub(crate) now: u64,
    /// The bucket.
    pub(crate) state: State,
}

/// How much may be out on lease, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens, over all processes.
    pub(crate) most: u32,
    /// In microseconds.
    pub(crate) lifetime: u64,
}

impl Limits {
    /// For a fraction of the capacity. `None`: that is less than a token, and everything is decided
    /// one by one.
    pub(crate) fn of(terms: &ScaledQuota, fraction: f64, lifetime: u64) -> Option<Limits> {
        // 0.29 × 100 is 28.999999999999996 in floating point, and 29 to whoever wrote it.
        let most = (fraction * f64::from(terms.capacity_tokens()) + 1e-6) as u32;
        (most > 0).then_some(Limits {
            most: most.min(terms.capacity_tokens()).min(MOST_TOKENS),
            lifetime,
        })
    }
}

/// The tick at a time of the server's clock.
fn tick(layout: &Layout, now: u64) -> u64 {
    layout.tick(now.saturating_mul(1000))
}
