//! Wait to announce to a client.

use std::time::Duration;

use crate::{DecisionView, Outcome};

/// Wait before a retry while Redis is unavailable.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);

/// Time by which the clock reading of one thread may be behind the decision of another.
const STALE_READING: Duration = Duration::from_millis(1);

/// Wait to announce to a client: [`DecisionView::retry_after`], rounded up to whole microseconds.
///
/// A client that retries after this wait is allowed, unless another request has taken the tokens
/// meanwhile. The rate of the limiter's clock must follow the client's: that of
/// [`Clock::monotonic`](crate::Clock::monotonic) does. Responses built by
/// [`Refusal`](super::Refusal) announce this wait; the function is for refusals built otherwise.
///
/// Returns `None` when the request was allowed or can never be. Returns one second when no decision
/// was possible ([`Outcome::Unavailable`]), and the window when the tokens are there only after the
/// horizon of 34 years, as with a quota of one token in 35 years.
///
/// ```
/// # use {std::time::Duration, tollgate::{Bucket, Quota, tower}};
/// let bucket = Bucket::new(Quota::per_second(1).with_capacity(2));
/// let allowed = bucket.try_acquire_at(Duration::ZERO, 2);
/// assert_eq!(tower::retry_after(&allowed), None);
/// let refused = bucket.try_acquire_at(Duration::ZERO, 1);
/// assert_eq!(tower::retry_after(&refused), Some(Duration::from_secs(1)));
/// ```
#[must_use]
pub fn retry_after(decision: &DecisionView) -> Option<Duration> {
    match decision.outcome() {
        Outcome::Unavailable => Some(RETRY_UNAVAILABLE),
        Outcome::Allowed | Outcome::CostAboveCapacity => None,
        _ => {
            let window = decision.window();
            let wait = decision.retry_after().unwrap_or(window);
            Some(announced(wait, window))
        }
    }
}

/// Returns the time until the bucket is full, as it is announced to a client.
pub(super) fn reset_after(decision: &DecisionView) -> Duration {
    let window = decision.window();
    match decision.reset_after() {
        // Past the horizon.
        Duration::MAX => announced(window, window),
        time => announced(time, window),
    }
}

/// Rounds up to whole microseconds. A thread that found a bucket as of a later time than its own
/// reading waits for at most a window from then on.
fn announced(wait: Duration, window: Duration) -> Duration {
    let wait = if wait > window && wait - window <= STALE_READING {
        window
    } else {
        wait
    };
    let micros = u64::from(wait.subsec_nanos()).div_ceil(1000);
    Duration::from_micros(
        wait.as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(micros),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_wait_is_rounded_up_and_has_no_margin() {
        let announced = |wait| announced(wait, Duration::from_secs(1000));
        let exact = Duration::from_secs(1000);
        assert_eq!(announced(exact), exact);
        assert_eq!(announced(Duration::from_nanos(1)), Duration::from_micros(1));
        assert_eq!(announced(exact + Duration::from_micros(3)), exact);
        assert!(announced(exact + Duration::from_secs(1)) > exact, "paused");
        assert!(announced(Duration::MAX) > Duration::from_secs(86_400 * 365));
    }
}
