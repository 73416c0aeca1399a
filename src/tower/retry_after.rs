//! Wait to announce to a client, which is never too short for the client's clock.

use std::time::Duration;

use crate::{Decision, Outcome, clock_margin::with_margin};

/// Wait before a retry while Redis is unavailable.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);

/// Wait to announce to a client: [`Decision::retry_after`], extended by 61 parts per million
/// because the client's clock differs from the limiter's, and rounded up to whole microseconds.
///
/// A client that retries after this wait is allowed, unless another request has taken the tokens
/// meanwhile. Responses built by [`Refusal`](super::Refusal) announce this wait; the function is
/// for refusals built otherwise.
///
/// Returns `None` when the request was allowed or can never be. Returns one second when no decision
/// was possible ([`Outcome::Unavailable`]).
///
/// ```
/// # use {std::time::Duration, tollgate::{Bucket, Quota, tower}};
/// let bucket = Bucket::new(Quota::per_second(1).with_capacity(2));
/// let allowed = bucket.try_acquire_at(Duration::ZERO, 2);
/// assert_eq!(tower::retry_after(&allowed), None);
/// let refused = bucket.try_acquire_at(Duration::ZERO, 1);
/// assert_eq!(tower::retry_after(&refused), Some(Duration::from_micros(1_000_062)));
/// ```
#[must_use]
pub fn retry_after(decision: &Decision) -> Option<Duration> {
    match decision.outcome() {
        Outcome::Unavailable => Some(RETRY_UNAVAILABLE),
        _ => decision.retry_after().map(announced),
    }
}

/// Adds the clock margin, and rounds up to whole microseconds.
fn announced(wait: Duration) -> Duration {
    // The margin is rounded down to a nanosecond; one more makes up for it.
    let micros = (with_margin(wait).as_nanos() + 1).div_ceil(1000);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_wait_is_longer_by_61_parts_per_million() {
        assert_eq!(
            announced(Duration::from_secs(1000)),
            Duration::from_micros(1_000_061_036)
        );
        assert_eq!(announced(Duration::from_nanos(1)), Duration::from_micros(1));
        assert!(announced(Duration::MAX) > Duration::from_secs(86_400 * 365));
    }
}
