//! Unspent tokens of a lease, in one word that is spent from without a lock.
//!
//! ```text
//! 63                40 39                    0
//! | tokens : 24 bits | expiry : 40 bits      |      expiry in steps of 2²⁰ ns of the process's clock
//! ```
//!
//! The word is the complete state, so ABA is harmless: a CAS that finds the word it loaded finds
//! the same lease, however often the word changed in between.
//!
//! - *Take and drain* ([`Balance::drain`]): both change the word, so one comes first. A take before
//!   the drain spends tokens that the drain does not return. A take after it finds no tokens.
//! - *Take and deposit*: one comes first, likewise. A deposit adds to the tokens it finds and never
//!   removes any.
//! - *After expiry*: a take reads the clock first and compares it with the expiry in the word that
//!   its CAS replaces. A thread that is suspended in between decides as of the time it read. Its
//!   token was still debited and not returned, or the CAS would fail. If a new lease arrived in the
//!   meantime, the take is valid as of that lease.
//!
//! All accesses are relaxed: the word publishes no other memory.

use crate::sync::{AtomicU64, Ordering};

/// Largest number of tokens that fits.
pub(crate) const MAX_TOKENS: u32 = (1 << 24) - 1;
const EXPIRY_BITS: u32 = 40;
const STEP_BITS: u32 = 20;

/// Packed balance of a lease. All zero: no tokens, and expired since the origin.
#[derive(Debug, Default)]
pub(crate) struct Balance(AtomicU64);

/// Unpacked word of a [`Balance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BalanceSnapshot {
    pub(crate) tokens: u32,
    /// In nanoseconds of the process's clock.
    pub(crate) expiry: u64,
}

impl Balance {
    /// Takes `cost` tokens at `now`, in nanoseconds of the process's clock, and returns the number
    /// of tokens that remain. `None` if the balance has fewer tokens or has expired.
    #[inline]
    pub(crate) fn take(&self, now: u64, cost: u32) -> Option<u32> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let BalanceSnapshot { tokens, expiry } = unpack(word);
            if now >= expiry || tokens < cost {
                return None;
            }
            let next = word - (u64::from(cost) << EXPIRY_BITS);
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(tokens - cost),
                Err(current) => word = current,
            }
        }
    }

    pub(crate) fn snapshot(&self) -> BalanceSnapshot {
        unpack(self.0.load(Ordering::Relaxed))
    }

    /// Adds `tokens`, sets the expiry of all tokens to `expiry` (rounded down), and returns the
    /// number of tokens.
    pub(crate) fn deposit(&self, tokens: u32, expiry: u64) -> u32 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let sum = (unpack(word).tokens + tokens).min(MAX_TOKENS);
            match self.0.compare_exchange_weak(
                word,
                pack(sum, expiry),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return sum,
                Err(current) => word = current,
            }
        }
    }

    /// Removes all tokens, expired or not, and returns their number.
    pub(crate) fn drain(&self) -> u32 {
        unpack(self.0.swap(0, Ordering::Relaxed)).tokens
    }
}

pub(super) fn unpack(word: u64) -> BalanceSnapshot {
    BalanceSnapshot {
        tokens: (word >> EXPIRY_BITS) as u32,
        expiry: (word & ((1 << EXPIRY_BITS) - 1)) << STEP_BITS,
    }
}

/// Packs a balance. The expiry saturates at 2⁶⁰ ns, 34 years after the origin: later than that,
/// nothing is spent.
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
    fn tokens_are_spent_until_they_expire() {
        let balance = Balance::default();
        assert_eq!(balance.take(0, 1), None);
        assert_eq!(balance.deposit(3, 10 * STEP + 5), 3);
        assert_eq!(balance.snapshot().expiry, 10 * STEP);
        assert_eq!(balance.take(10 * STEP - 1, 2), Some(1));
        assert_eq!(balance.take(10 * STEP - 1, 2), None);
        assert_eq!(balance.take(10 * STEP, 1), None);
        assert_eq!(balance.deposit(4, 20 * STEP), 5);
        assert_eq!((balance.drain(), balance.drain()), (5, 0));
        assert_eq!(balance.take(0, 1), None);
    }

    #[test]
    fn racing_takes_deposits_and_drains_account_for_every_token_once() {
        let (balance, taken) = (Balance::default(), AtomicU32::new(0));
        let (deposited, drained) = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let count = u32::from(balance.take(0, 1).is_some());
                        taken.fetch_add(count, Ordering::Relaxed);
                    }
                });
            }
            let (mut deposited, mut drained) = (0, 0);
            for round in 0..2000 {
                balance.deposit(5, STEP);
                deposited += 5;
                if round % 3 == 0 {
                    drained += balance.drain();
                }
            }
            (deposited, drained)
        });
        assert_eq!(taken.into_inner() + drained + balance.drain(), deposited);
    }
}
