//! Request for tokens of one key in Redis, as one of several limits.

use std::{fmt, sync::Arc};

use super::{inner::Inner, store::Store};

/// Tokens of one key of a [`RedisLimiter`](crate::RedisLimiter), as one of several limits; see
/// [`RedisLimiter::ask`](crate::RedisLimiter::ask).
#[derive(Clone, Copy)]
pub struct RedisAsk<'a> {
    pub(super) limiter: &'a Inner,
    pub(super) key: &'a [u8],
    pub(super) cost: u32,
    /// It gives no tokens.
    pub(super) only_looks: bool,
}

impl<'a> RedisAsk<'a> {
    pub(super) fn new(limiter: &'a Inner, key: &'a [u8], cost: u32) -> RedisAsk<'a> {
        RedisAsk {
            limiter,
            key,
            cost,
            only_looks: false,
        }
    }

    /// Returns a request that refuses as this one does, and takes nothing: a condition on the other
    /// limits of the call, up to eight beside the eight. It is no part of [`RedisCompoundDecision::tightest`](crate::RedisCompoundDecision::tightest)
    /// of an allowed request.
    pub fn only_look(self) -> RedisAsk<'a> {
        RedisAsk {
            only_looks: true,
            ..self
        }
    }

    pub(super) fn store(&self) -> &'a Arc<Store> {
        &self.limiter.store
    }

    /// Returns true when callers of this process wait for the same tokens.
    pub(super) fn has_waiters(&self) -> bool {
        self.cost > 0 && !self.only_looks && !self.limiter.lines.is_empty(self.key)
    }

    /// Returns true when callers of both wait in one line.
    pub(super) fn shares_line(&self, other: &RedisAsk<'_>) -> bool {
        std::ptr::eq(self.limiter, other.limiter) && self.key == other.key
    }

    /// Returns the tokens of all asks that wait in the line of this one.
    pub(super) fn cost_in_line(&self, asks: &[RedisAsk<'_>]) -> u32 {
        let same = asks.iter().filter(|ask| self.shares_line(ask));
        let same = same.filter(|ask| !ask.only_looks);
        same.fold(0, |sum, ask| sum.saturating_add(ask.cost))
    }
}

/// Omits the key, which may be a secret.
impl fmt::Debug for RedisAsk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAsk")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
