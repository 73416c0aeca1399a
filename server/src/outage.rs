//! Log lines about a part that fails and recovers: one line for each, at most once per period.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Time after a logged failure in which a part that alternates between failure and success logs
/// nothing more.
const PERIOD: Duration = Duration::from_secs(60);

/// State of a part that fails and recovers: selects the failures and recoveries that are logged.
#[derive(Debug)]
pub(crate) struct Outage {
    created: Instant,
    is_failing: AtomicBool,
    /// The failure was logged, so the recovery is as well.
    is_logged: AtomicBool,
    /// Milliseconds from `created` to the end of the period of the last logged failure.
    quiet_until: AtomicU64,
    /// Failures since the last logged one.
    failures: AtomicU64,
}

impl Outage {
    pub(crate) fn new(now: Instant) -> Outage {
        Outage {
            created: now,
            is_failing: AtomicBool::new(false),
            is_logged: AtomicBool::new(false),
            quiet_until: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Records a failure. When it is to be logged, returns the number of failures since the last
    /// logged one, which includes this one.
    pub(crate) fn record_failure(&self, now: Instant) -> Option<u64> {
        self.is_failing.store(true, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let now = millis(now.saturating_duration_since(self.created));
        if self.is_logged.load(Ordering::Relaxed) || now < quiet_until {
            return None;
        }
        // Of several threads, the one whose CAS succeeds logs.
        let next = now.saturating_add(millis(PERIOD));
        self.quiet_until
            .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        self.is_logged.store(true, Ordering::Relaxed);
        Some(self.failures.swap(0, Ordering::Relaxed))
    }

    /// Records a success and returns true if it is a recovery to be logged.
    #[inline]
    pub(crate) fn record_success(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
            && self.is_failing.swap(false, Ordering::Relaxed)
            && self.is_logged.swap(false, Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_failures_are_logged_once_per_period() {
        let start = Instant::now();
        let outage = Outage::new(start);
        assert!(!outage.record_success());
        let (mut failures, mut recoveries) = (Vec::new(), 0);
        for second in 0..180 {
            failures.extend(outage.record_failure(start + Duration::from_secs(second)));
            recoveries += u32::from(outage.record_success());
        }
        assert_eq!((failures, recoveries), (vec![1, 60, 60], 3));
    }

    #[test]
    fn an_outage_is_logged_once_however_long_it_lasts() {
        let start = Instant::now();
        let outage = Outage::new(start);
        let logged = |second| outage.record_failure(start + Duration::from_secs(second));
        assert_eq!(logged(0), Some(1));
        assert_eq!((1..1000).find_map(logged), None);
        assert!(outage.record_success());
        assert!(!outage.record_success());
        assert_eq!(logged(1001), Some(1000));
    }

    #[test]
    fn an_outage_that_begins_in_the_period_of_another_is_logged_after_it() {
        let start = Instant::now();
        let outage = Outage::new(start);
        let logged = |second| outage.record_failure(start + Duration::from_secs(second));
        assert_eq!(logged(0), Some(1));
        assert!(outage.record_success());
        assert_eq!(logged(10), None);
        assert!(!outage.record_success(), "the failure was not logged");
        assert_eq!((11..60).find_map(logged), None);
        assert_eq!(logged(60), Some(51));
        assert!(outage.record_success());
    }
}
