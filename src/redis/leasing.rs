//! Lease mode: the machines of [`lease`](super::lease), driven by real messages and a real clock.
//!
//! Every operation on a bucket goes through `lease.lua` here, those of quotas too small to be
//! leased as well, since what is on lease is kept beside the bucket. Such buckets have names of
//! their own (`{prefix}:l…`), so that a limiter in exact mode, whose scripts know nothing of
//! leases, does not touch them.
//!
//! - `acquire`: a decision, from what is here, or else by waiting for an answer.
//! - `message`: what is sent, each in a task of its own, so that nobody who leaves takes the answer
//!   with him.
//! - `answer`: what the machines say, as decisions.
//! - `keep`: what has expired goes back, and all of it in the end.

mod acquire;
mod answer;
mod keep;
mod message;

use std::time::Duration;

pub(super) use keep::{Last, tick};

use super::{
    lease::{
        keys::Keys,
        protocol::{Limits, Settings},
    },
    terms::Limit,
};
use crate::duration::saturating_nanos;

/// How long a lease lasts. A crash loses what was out, at most the fraction and at most for so long
/// a use of the key; while a shorter lease makes more messages: a key that is used less often than
/// this is asked for every time.
const LIFETIME: Duration = Duration::from_secs(2);

/// How a limiter leases.
#[derive(Clone, Debug)]
pub(super) struct Leasing {
    /// The part of a capacity that may be out on lease.
    pub(super) fraction: f64,
    /// How long an answer is waited for.
    pub(super) timeout: Duration,
    pub(super) max_keys: usize,
}

impl Leasing {
    pub(super) fn lifetime_micros(&self) -> u64 {
        LIFETIME.as_micros() as u64
    }

    /// For the keys of a quota, as many as may have it. `None`: it is too small, and its tokens are
    /// taken one by one.
    pub(super) fn keys(&self, limit: &Limit, most: usize) -> Option<Keys> {
        let limits =
            Limits::for_fraction(&limit.layout.scaled, self.fraction, self.lifetime_micros())?;
        let settings = Settings {
            layout: limit.layout,
            limits,
            timeout_nanos: saturating_nanos(self.timeout),
        };
        Some(Keys::new(settings, most))
    }
}
