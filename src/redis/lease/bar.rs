//! A refusal that is remembered where no lock is taken, so that those who flood a key do not queue
//! for it.
//!
//! One word says for which cost, and until when nothing is asked; in the same form as a
//! [`Balance`](super::balance::Balance). When the tokens can be there is beside it: who reads an
//! older or a newer one of these is told of a refusal that is as true.

use super::balance::{Left, MOST_TOKENS, pack, unpack};
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Bar {
    word: AtomicU64,
    there_at: AtomicU64,
}

impl Bar {
    /// Whoever asks for `cost` tokens in the next `barred` nanoseconds need not look further: they
    /// cannot be there before `retry` have passed.
    pub(super) fn raise(&self, now: u64, cost: u32, barred: u64, retry: u64) {
        if cost <= MOST_TOKENS {
            self.there_at
                .store(now.saturating_add(retry), Ordering::Relaxed);
            self.word
                .store(pack(cost, now.saturating_add(barred)), Ordering::Relaxed);
        }
    }

    pub(super) fn lower(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Nanoseconds until so many tokens can be there, if that is known.
    #[inline]
    pub(super) fn refuses(&self, now: u64, cost: u32) -> Option<u64> {
        let Left { tokens, expiry } = unpack(self.word.load(Ordering::Relaxed));
        if tokens != cost || now >= expiry {
            return None;
        }
        match self.there_at.load(Ordering::Relaxed) {
            u64::MAX => Some(u64::MAX),
            there_at => Some(there_at.saturating_sub(now).max(expiry - now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bar;

    #[test]
    fn refuses_the_same_cost_for_as_long_as_told() {
        const STEP: u64 = 1 << 20;
        let bar = Bar::default();
        assert_eq!(bar.refuses(0, 1), None);
        bar.raise(0, 2, 3 * STEP, 5 * STEP);
        assert_eq!(
            (
                bar.refuses(STEP, 2),
                bar.refuses(STEP, 1),
                bar.refuses(STEP, 3)
            ),
            (Some(4 * STEP), None, None)
        );
        assert_eq!(
            (bar.refuses(3 * STEP - 1, 2), bar.refuses(3 * STEP, 2)),
            (Some(2 * STEP + 1), None)
        );
        bar.raise(0, 2, 3 * STEP, u64::MAX);
        assert_eq!(bar.refuses(STEP, 2), Some(u64::MAX));
        bar.lower();
        assert_eq!(bar.refuses(STEP, 2), None);
    }
}
