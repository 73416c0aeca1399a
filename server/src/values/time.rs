//! Timeouts and other times up to a day.

use std::{fmt, time::Duration};

use super::parse::Value;

const DAY_MS: u64 = 86_400_000;

/// A time from `MIN_MS` to `MAX_MS` milliseconds: a number of seconds, or text such as `50ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout<const MIN_MS: u64, const MAX_MS: u64 = DAY_MS>(Duration);

/// Timeout of Redis, which every request may wait for. The low maximum rejects `50` without a unit,
/// which would mean 50 seconds.
pub(crate) type RedisTimeout = Timeout<1, 10_000>;

/// Time by which a bucket may be ahead of the clock of Redis. Clients may be refused for as long.
pub(crate) type ClockTolerance = Timeout<1, 60_000>;

/// Longest wait of a request for its tokens. Its connection is held for as long.
pub(crate) type MaxDelay = Timeout<0, 60_000>;

impl<const MIN_MS: u64, const MAX_MS: u64> Timeout<MIN_MS, MAX_MS> {
    pub(crate) fn get(self) -> Duration {
        self.0
    }

    fn checked(time: Duration) -> Option<Self> {
        (Duration::from_millis(MIN_MS)..=Duration::from_millis(MAX_MS))
            .contains(&time)
            .then_some(Timeout(time))
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Value for Timeout<MIN_MS, MAX_MS> {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a time such as \"50ms\" or a number of seconds, from {MIN_MS} ms to "
        )?;
        match MAX_MS {
            DAY_MS => f.write_str("a day"),
            max => write!(f, "{} s", max / 1000),
        }
    }

    fn from_float(seconds: f64) -> Option<Self> {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(Self::checked)
    }

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().and_then(Self::checked)
    }
}
