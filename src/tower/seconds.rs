//! Times as clients are told them: never too short.

use std::{fmt, time::Duration};

use crate::{Decision, Outcome};

/// After this it is worth a try to ask a Redis again that could not be asked.
const PROBED_AGAIN: Duration = Duration::from_secs(1);

/// Part of a wait by which it is lengthened, 61 in a million: our clock and the client's may differ
/// by some.
const CLOCK_MARGIN: u128 = 1 << 14;

/// The wait that a client may be told of: [`Decision::retry_after`], made longer by 61 parts in a
/// million, since the client's clock is another, and rounded up to whole microseconds. Whoever
/// waits so long and asks again is allowed, if nobody else has taken the tokens.
///
/// `None` when the request was allowed, or never will be. One second where nobody could decide
/// ([`Outcome::Unavailable`]). For refusals of your own; those of [`HeaderStyle`](super::HeaderStyle) have
/// it.
///
/// ```
/// # use {std::time::Duration, tollgate::{Bucket, Quota, tower}};
/// let bucket = Bucket::new(Quota::per_second(1).with_capacity(2));
/// assert_eq!(tower::retry_after(&bucket.try_acquire_at(Duration::ZERO, 2)), None);
/// assert_eq!(tower::retry_after(&bucket.try_acquire_at(Duration::ZERO, 1)), Some(Duration::from_micros(1_000_062)));
/// ```
#[must_use]
pub fn retry_after(decision: &Decision) -> Option<Duration> {
    match decision.outcome() {
        Outcome::Unavailable => Some(PROBED_AGAIN),
        _ => decision.retry_after().map(promised),
    }
}

/// A wait as it may be promised to a client with another clock.
fn promised(wait: Duration) -> Duration {
    let nanos = wait.as_nanos();
    let micros = (nanos + nanos / CLOCK_MARGIN + 1).div_ceil(1000);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Rounded up.
pub(super) fn whole(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Seconds with as many decimals as there are, down to microseconds: `0.93`, `2.0`.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut decimals, mut digits) = (self.0.subsec_micros(), 6);
        while digits > 1 && decimals % 10 == 0 {
            (decimals, digits) = (decimals / 10, digits - 1);
        }
        write!(f, "{}.{decimals:0digits$}", self.0.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_fractions() {
        for (micros, text) in [
            (930_000, "0.93"),
            (2_000_000, "2.0"),
            (1, "0.000001"),
            (1_000_010, "1.00001"),
        ] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), text);
        }
    }

    #[test]
    fn whole_seconds_are_rounded_up() {
        assert_eq!(
            [0, 1, 1_000_000_000, 1_000_000_001].map(|nanos| whole(Duration::from_nanos(nanos))),
            [0, 1, 1, 2]
        );
    }

    #[test]
    fn a_promised_wait_is_longer_by_61_parts_in_a_million() {
        assert_eq!(
            promised(Duration::from_secs(1000)),
            Duration::from_micros(1_000_061_036)
        );
        assert_eq!(promised(Duration::from_nanos(1)), Duration::from_micros(1));
        assert!(promised(Duration::MAX) > Duration::from_secs(86_400 * 365));
    }
}
