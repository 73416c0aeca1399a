//! Stall clock: ends a transfer whose client holds it back.
//!
//! The clock runs only while the client holds back: bytes are ready and the client does not take
//! them, or the client owes bytes of a request body. A silent upstream therefore never counts.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Minimum transfer rate: this many bytes return one second to the clock.
const MIN_BYTES_PER_SECOND: u64 = 1000;

/// Time that a client may still hold a transfer back. Transferred bytes return time, up to the
/// allowance. The minimum rate is thus averaged over the allowance, and a fast start does not pay
/// for a long silence later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallClock {
    allowance: Duration,
    remaining: Duration,
}

impl StallClock {
    pub(crate) fn new(allowance: Duration) -> StallClock {
        StallClock {
            allowance,
            remaining: allowance,
        }
    }

    /// Returns the time that `bytes` transferred bytes earn.
    pub(crate) fn credit(&mut self, bytes: u64) {
        let earned =
            Duration::from_nanos(bytes.saturating_mul(1_000_000_000 / MIN_BYTES_PER_SECOND));
        self.remaining = self.remaining.saturating_add(earned).min(self.allowance);
    }

    /// Spends time during which the client held back. Returns true if none remains.
    pub(crate) fn spend(&mut self, time: Duration) -> bool {
        self.remaining = self.remaining.saturating_sub(time);
        self.remaining.is_zero()
    }
}

/// Stall clock with a timer, for a task that waits for the client itself.
#[derive(Debug)]
pub(crate) struct StallTimer {
    clock: StallClock,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    pub(crate) fn new(allowance: Duration) -> StallTimer {
        StallTimer {
            clock: StallClock::new(allowance),
            waiting_since: None,
            timer: None,
        }
    }

    /// Ends a wait, in which `bytes` were transferred.
    pub(crate) fn transferred(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.clock.spend(since.elapsed());
        }
        self.clock.credit(bytes);
    }

    /// Starts or continues a wait for the client; ready when its time is exhausted.
    pub(crate) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let remaining = self.clock.remaining;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(remaining)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            timer.as_mut().reset(now + remaining);
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the seconds after which a client with this rate in bytes per second is stalled.
    fn stalled_after(clock: &mut StallClock, rate: u64) -> Option<u64> {
        (1..=10_000).find(|_| {
            clock.credit(rate);
            clock.spend(SECOND)
        })
    }

    #[test]
    fn a_client_below_the_minimum_rate_stalls_and_one_above_it_does_not() {
        let clock = StallClock::new(30 * SECOND);
        assert_eq!(stalled_after(&mut clock.clone(), 0), Some(30));
        assert_eq!(stalled_after(&mut clock.clone(), 500), Some(59));
        assert_eq!(stalled_after(&mut clock.clone(), 1001), None);
    }

    #[test]
    fn a_fast_start_returns_no_more_than_the_allowance() {
        let mut clock = StallClock::new(30 * SECOND);
        clock.credit(1_000_000_000);
        assert_eq!(stalled_after(&mut clock, 0), Some(30));
        clock.credit(u64::MAX);
        assert!(!clock.spend(29 * SECOND));
        assert!(clock.spend(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn only_waits_for_the_client_count() {
        let mut timer = StallTimer::new(30 * SECOND);
        let begin = Instant::now();
        for _ in 0..10 {
            // The client sends 1 KB after 10 s, then the upstream takes 100 s.
            let wait = poll_fn(|cx| timer.poll_stalled(cx));
            assert!(tokio::time::timeout(10 * SECOND, wait).await.is_err());
            timer.transferred(10_000);
            tokio::time::sleep(100 * SECOND).await;
        }
        poll_fn(|cx| timer.poll_stalled(cx)).await;
        let elapsed = begin.elapsed().as_secs();
        assert!((1130..=1131).contains(&elapsed), "{elapsed} s");
    }
}
