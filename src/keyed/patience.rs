//! Limits of the time for which an insert waits for others that hold a latch or have marked a slot.

#[cfg(feature = "shared")]
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::sync::Backoff;

/// Time after which a thread of another process counts as gone. It is many times that of an insert,
/// and an insert that was taken for dead starts over.
#[cfg(feature = "shared")]
const LIMIT: Duration = Duration::from_micros(50);

/// Time that an insert waits in total, whatever other processes do to the table.
#[cfg(feature = "shared")]
const BUDGET: Duration = Duration::from_millis(20);

/// Time that a step in vain counts for, which takes less.
#[cfg(feature = "shared")]
const STEP: Duration = Duration::from_micros(1);

/// What becomes of a wait for another thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Patience {
    /// The other thread goes on: threads of one process do.
    #[default]
    Endless,
    /// The other thread may have died or stopped: after some time it counts as gone.
    #[cfg(any(tollgate_loom, feature = "shared"))]
    Limited,
}

/// Waits of one insert.
#[derive(Debug)]
pub(super) struct Waits {
    patience: Patience,
    backoff: Backoff,
    #[cfg(feature = "shared")]
    left: Cell<Duration>,
}

impl Waits {
    pub(super) fn new(patience: Patience) -> Waits {
        Waits {
            patience,
            backoff: Backoff::default(),
            #[cfg(feature = "shared")]
            left: Cell::new(BUDGET),
        }
    }

    /// Begins to wait until a value changes.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait {
            waits: self,
            backoff: Backoff::default(),
            #[cfg(feature = "shared")]
            seen: None,
        }
    }

    /// Waits before an insert starts over.
    pub(super) fn start_over(&self) {
        match self.patience {
            Patience::Endless => self.backoff.wait(),
            // What it has to wait for, it waits for where it finds it.
            #[cfg(tollgate_loom)]
            Patience::Limited => {}
            #[cfg(feature = "shared")]
            Patience::Limited => self.spend(LIMIT),
        }
    }

    /// Counts a step in vain, which another thread was faster with.
    pub(super) fn fail(&self) {
        #[cfg(feature = "shared")]
        if self.patience == Patience::Limited {
            self.spend(STEP);
        }
    }

    /// Returns true when the insert has waited for so long that it must end.
    pub(super) fn are_over(&self) -> bool {
        #[cfg(feature = "shared")]
        let is_spent = self.left.get().is_zero();
        #[cfg(not(feature = "shared"))]
        let is_spent = false;
        is_spent
    }

    #[cfg(feature = "shared")]
    fn spend(&self, time: Duration) {
        self.left.set(self.left.get().saturating_sub(time));
    }
}

/// Wait until a value changes.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    backoff: Backoff,
    /// A value, when it was first seen, and when last.
    #[cfg(feature = "shared")]
    seen: Option<(u64, Instant, Instant)>,
}

impl Wait<'_> {
    /// Waits a little. Returns true when this value has been seen for so long that the thread which
    /// should change it counts as gone, or when the insert must end.
    #[cfg_attr(not(any(feature = "shared", tollgate_loom)), expect(unused_variables))]
    pub(super) fn is_over(&mut self, value: u64) -> bool {
        match self.waits.patience {
            Patience::Endless => {
                self.backoff.wait();
                false
            }
            // In models any thread may count as gone at any moment, which includes every time limit.
            #[cfg(tollgate_loom)]
            Patience::Limited => {
                let _ = value;
                true
            }
            #[cfg(feature = "shared")]
            Patience::Limited => self.is_over_by_time(value),
        }
    }

    /// Measures by the clock of the system, whichever the limiter has. It does not yield: on a busy
    /// machine that takes milliseconds.
    #[cfg(feature = "shared")]
    fn is_over_by_time(&mut self, value: u64) -> bool {
        std::hint::spin_loop();
        let now = Instant::now();
        let Some((seen, since, last)) = self.seen else {
            self.seen = Some((value, now, now));
            return false;
        };
        // A stop of this thread in between is not its own waiting.
        self.waits.spend((now - last).min(LIMIT));
        let since = if seen == value { since } else { now };
        self.seen = Some((value, since, now));
        now - since >= LIMIT || self.waits.are_over()
    }
}

#[cfg(all(test, feature = "shared"))]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_stays_ends_a_wait_and_one_that_changes_ends_the_insert() {
        let waits = Waits::new(Patience::Limited);
        let mut wait = waits.wait();
        while !wait.is_over(1) {}
        assert!(!waits.are_over());

        let mut wait = waits.wait();
        let ended = (0..).find(|&value| wait.is_over(value));
        assert!(ended.is_some() && waits.are_over());
    }

    #[test]
    fn an_insert_starts_over_only_so_often() {
        let waits = Waits::new(Patience::Limited);
        let times = (0..).take_while(|_| {
            waits.start_over();
            !waits.are_over()
        });
        assert_eq!(times.count(), 399);

        let waits = Waits::new(Patience::Endless);
        (0..1000).for_each(|_| waits.start_over());
        assert!(!waits.are_over());
    }
}
