//! What is left of a lease, in one word that is spent from without a lock.
//!
//! ```text
//! 63                40 39                    0
//! | tokens : 24 bits | expiry : 40 bits      |      expiry in steps of 2²⁰ ns of the process's clock
//! ```
//!
//! The word is all there is to know, so a swap of the very word that was looked at cannot go wrong:
//! the same word is the same lease, however often it changed in between.
//!
//! - *Take against settle* ([`Balance::close`]): both change the word, so one comes first. A take
//!   before it is not among the tokens that settle hands back; a take after it finds nothing.
//! - *Take against deposit*: likewise; a deposit adds to what it finds and never takes away.
//! - *After expiry*: a take reads the clock first and compares it with the expiry in the word that
//!   it swaps. A thread that sleeps in between has decided as of the time it read; its token was
//!   still debited and not handed back, or the swap would fail. Where a new lease came in while it
//!   slept, it has decided as of then.
//!
//! Relaxed: the word promises nothing about other memory.

use crate::sync::{AtomicU64, Ordering};

/// The most tokens that fit.
pub(crate) const MOST_TOKENS: u32 = (1 << 24) - 1;
const EXPIRY_BITS: u32 = 40;
const STEP_BITS: u32 = 20;

/// The word. All zero: nothing, since ever.
#[derive(Debug, Default)]
pub(crate) struct Balance(AtomicU64);

/// A word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) tokens: u32,
    /// In nanoseconds of the process's clock.
    pub(crate) expiry: u64,
}

impl Balance {
    /// Takes `cost` tokens at `now`, in nanoseconds of the process's clock, and says how many are
    /// left. `None`: that many are not there, or not any more.
    #[inline]
    pub(crate) fn take(&self, now: u64, cost: u32) -> Option<u32> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let left = unpack(word);
            if now >= left.expiry || left.tokens < cost {
                return None;
            }
            let next = word - (u64::from(cost) << EXPIRY_BITS);
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(left.tokens - cost),
                Err(newer) => word = newer,
            }
        }
    }

    pub(crate) fn left(&self) -> Left {
        unpack(self.0.load(Ordering::Relaxed))
    }

    /// Adds `tokens`, and lets all of them last until `expiry` (rounded down); says how many there
    /// are then.
    pub(crate) fn deposit(&self, tokens: u32, expiry: u64) -> u32 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let sum = (unpack(word).tokens + tokens).min(MOST_TOKENS);
            match self.0.compare_exchange_weak(
                word,
                pack(sum, expiry),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return sum,
                Err(newer) => word = newer,
            }
        }
    }

    /// Takes out all that is left, expired or not.
    pub(crate) fn close(&self) -> u32 {
        unpack(self.0.swap(0, Ordering::Relaxed)).tokens
    }
}

pub(super) fn unpack(word: u64) -> Left {
    Left {
        tokens: (word >> EXPIRY_BITS) as u32,
        expiry: (word & ((1 << EXPIRY_BITS) - 1)) << STEP_BITS,
    }
}

/// Behind 2⁶⁰ ns, 34 years after the origin, nothing is spent any more.
pub(super) fn pack(tokens: u32, expiry: u64) -> u64 {
    let steps = (expiry >> STEP_BITS).min((1 << EXPIRY_BITS) - 1);
    u64::from(tokens) << EXPIRY_BITS | steps
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Balance;

    const STEP: u64 = 1 << 20;

    #[test]
    fn spends_what_is_there_until_it_expires() {
        let balance = Balance::default();
        assert_eq!(balance.take(0, 1), None);
        assert_eq!(balance.deposit(3, 10 * STEP + 5), 3);
        assert_eq!(balance.left().expiry, 10 * STEP);
        assert_eq!(balance.take(10 * STEP - 1, 2), Some(1));
        assert_eq!(balance.take(10 * STEP - 1, 2), None);
        assert_eq!(balance.take(10 * STEP, 1), None);
        assert_eq!(balance.deposit(4, 20 * STEP), 5);
        assert_eq!((balance.close(), balance.close()), (5, 0));
        assert_eq!(balance.take(0, 1), None);
    }

    #[test]
    fn every_token_is_spent_or_handed_back_once_whatever_races() {
        let (balance, taken) = (Balance::default(), AtomicU32::new(0));
        let (deposited, settled) = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let got = u32::from(balance.take(0, 1).is_some());
                        taken.fetch_add(got, Ordering::Relaxed);
                    }
                });
            }
            let (mut deposited, mut settled) = (0, 0);
            for round in 0..2000 {
                balance.deposit(5, STEP);
                deposited += 5;
                if round % 3 == 0 {
                    settled += balance.close();
                }
            }
            (deposited, settled)
        });
        assert_eq!(taken.into_inner() + settled + balance.close(), deposited);
    }
}
