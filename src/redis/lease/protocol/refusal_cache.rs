//! Lock-free cache of the last refusal, so that a flood of requests for one key does not contend
//! for its lock.
//!
//! One word holds the refused cost and the deadline until which the refusal is valid, in the form
//! of a [`Balance`](super::balance::Balance). A second word holds the time at which the tokens can
//! be available. The two words are not read atomically together: a reader that sees an older or a
//! newer second word reports another refusal that is just as true.

use super::balance::{BalanceSnapshot, MAX_TOKENS, pack, unpack};
use crate::sync::{AtomicU64, Ordering};

/// Last refusal of a key.
#[derive(Debug, Default)]
pub(crate) struct RefusalCache {
    /// Refused cost and deadline.
    word: AtomicU64,
    available_at: AtomicU64,
}

impl RefusalCache {
    /// Stores a refusal of `cost` tokens that is valid for `valid_for` nanoseconds. The tokens
    /// cannot be available before `retry_after` nanoseconds have passed.
    pub(crate) fn store(&self, now: u64, cost: u32, valid_for: u64, retry_after: u64) {
        if cost <= MAX_TOKENS {
            self.available_at
                .store(now.saturating_add(retry_after), Ordering::Relaxed);
            self.word
                .store(pack(cost, now.saturating_add(valid_for)), Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Returns the nanoseconds until `cost` tokens can be available, if a refusal of that cost is
    /// cached.
    #[inline]
    pub(crate) fn retry_after(&self, now: u64, cost: u32) -> Option<u64> {
        let BalanceSnapshot { tokens, expiry } = unpack(self.word.load(Ordering::Relaxed));
        if tokens != cost || now >= expiry {
            return None;
        }
        match self.available_at.load(Ordering::Relaxed) {
            u64::MAX => Some(u64::MAX),
            available_at => Some(available_at.saturating_sub(now).max(expiry - now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalCache;

    #[test]
    fn refuses_the_cached_cost_until_the_deadline() {
        const STEP: u64 = 1 << 20;
        let cache = RefusalCache::default();
        assert_eq!(cache.retry_after(0, 1), None);
        cache.store(0, 2, 3 * STEP, 5 * STEP);
        assert_eq!(
            (
                cache.retry_after(STEP, 2),
                cache.retry_after(STEP, 1),
                cache.retry_after(STEP, 3)
            ),
            (Some(4 * STEP), None, None)
        );
        assert_eq!(
            (
                cache.retry_after(3 * STEP - 1, 2),
                cache.retry_after(3 * STEP, 2)
            ),
            (Some(2 * STEP + 1), None)
        );
        cache.store(0, 2, 3 * STEP, u64::MAX);
        assert_eq!(cache.retry_after(STEP, 2), Some(u64::MAX));
        cache.clear();
        assert_eq!(cache.retry_after(STEP, 2), None);
    }
}
