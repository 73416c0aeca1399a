//! When to stop asking Redis, and when to begin again: a state machine without clock and without
//! I/O.
//!
//! One failure opens it: whoever fails has waited for a whole timeout, and one such wait is enough.
//! A probe closes it. Every opening and closing has a number, so that a request which began before
//! the last one changes nothing: it says what Redis was like, and not what it is like.

use std::time::Duration;

/// Even numbers are closed, odd ones open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breaker(pub(super) u64);

impl Breaker {
    pub(super) const OPEN: Breaker = Breaker(1);

    pub(super) fn is_open(self) -> bool {
        !self.0.is_multiple_of(2)
    }

    /// How often it has opened.
    pub(super) fn openings(self) -> u64 {
        self.0.div_ceil(2)
    }

    /// What becomes of it when a request fails that saw `seen` before. `None`: nothing changes.
    pub(super) fn failed(self, seen: Breaker) -> Option<Breaker> {
        (!self.is_open() && self == seen).then_some(Breaker(self.0 + 1))
    }

    /// What becomes of it when a probe succeeds.
    pub(super) fn recovered(self) -> Option<Breaker> {
        self.is_open().then_some(Breaker(self.0 + 1))
    }
}

/// The pause before a probe, when so many have failed since it opened: short at first, since most
/// trouble is.
pub(super) fn pause(failed_probes: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(500);
    (FIRST * 2_u32.pow(failed_probes.min(8))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Breaker = Breaker(0);

    #[test]
    fn one_failure_opens_it_and_others_change_nothing() {
        let open = CLOSED.failed(CLOSED).unwrap();
        assert_eq!(
            (open, open.is_open(), open.openings()),
            (Breaker::OPEN, true, 1)
        );
        assert_eq!(open.failed(CLOSED), None);
        assert_eq!(open.failed(open), None);
    }

    #[test]
    fn a_probe_closes_it_once() {
        let closed = Breaker::OPEN.recovered().unwrap();
        assert_eq!((closed.is_open(), closed.openings()), (false, 1));
        assert_eq!(closed.recovered(), None);
    }

    #[test]
    fn who_began_before_the_last_opening_does_not_open_it_again() {
        let closed_again = Breaker::OPEN.recovered().unwrap();
        assert_eq!(closed_again.failed(CLOSED), None);
        let open_again = closed_again.failed(closed_again).unwrap();
        assert_eq!((open_again.is_open(), open_again.openings()), (true, 2));
    }

    #[test]
    fn probes_get_rarer_up_to_two_a_second() {
        let pauses: Vec<_> = (0..40).map(pause).collect();
        assert!(pauses.is_sorted());
        assert_eq!(
            (pauses[0], pauses[1]),
            (Duration::from_millis(50), Duration::from_millis(100))
        );
        assert_eq!(
            (pauses[4], pauses[39]),
            (Duration::from_millis(500), Duration::from_millis(500))
        );
    }
}
