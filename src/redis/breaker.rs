//! Circuit breaker as a state machine without a clock and without I/O.
//!
//! One failure opens it: an error, or a timeout after which a check failed as well. One successful
//! probe closes it. Every transition increments a version, so a request that
//! began before the last transition changes nothing: its failure describes an earlier state of
//! Redis.

/// Version of the breaker: closed when even, open when odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breaker(pub(super) u64);

impl Breaker {
    /// Initial state: nothing is sent before the first connection.
    pub(super) const OPEN: Breaker = Breaker(1);

    pub(super) fn is_open(self) -> bool {
        !self.0.is_multiple_of(2)
    }

    /// Number of times the breaker has opened.
    pub(super) fn openings(self) -> u64 {
        self.0.div_ceil(2)
    }

    /// Transition on the failure of a request that observed `observed` when it began. `None`: no
    /// change.
    pub(super) fn on_failure(self, observed: Breaker) -> Option<Breaker> {
        (!self.is_open() && self == observed).then_some(Breaker(self.0 + 1))
    }

    /// Transition on a successful probe. `None`: no change.
    pub(super) fn on_recovery(self) -> Option<Breaker> {
        self.is_open().then_some(Breaker(self.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Breaker = Breaker(0);

    #[test]
    fn first_failure_opens_and_later_failures_change_nothing() {
        let open = CLOSED.on_failure(CLOSED).unwrap();
        assert_eq!(
            (open, open.is_open(), open.openings()),
            (Breaker::OPEN, true, 1)
        );
        assert_eq!(open.on_failure(CLOSED), None);
        assert_eq!(open.on_failure(open), None);
    }

    #[test]
    fn recovery_closes_once() {
        let closed = Breaker::OPEN.on_recovery().unwrap();
        assert_eq!((closed.is_open(), closed.openings()), (false, 1));
        assert_eq!(closed.on_recovery(), None);
    }

    #[test]
    fn failure_of_a_request_from_before_the_last_opening_is_ignored() {
        let closed_again = Breaker::OPEN.on_recovery().unwrap();
        assert_eq!(closed_again.on_failure(CLOSED), None);
        let open_again = closed_again.on_failure(closed_again).unwrap();
        assert_eq!((open_again.is_open(), open_again.openings()), (true, 2));
    }
}
