//! Limit of the time for which an insert waits for another one that holds a latch or has marked a slot.

use crate::sync::Backoff;

/// What becomes of a wait for another thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Patience {
    /// The other thread goes on: threads of one process do.
    #[default]
    Endless,
    /// The other thread may have died or stopped: after some time it counts as gone.
    #[cfg(tollgate_loom)]
    Limited,
}

impl Patience {
    pub(super) fn wait(self) -> Wait {
        Wait {
            patience: self,
            backoff: Backoff::default(),
        }
    }

    /// Waits before an insert starts over.
    pub(super) fn retry(self, backoff: &Backoff) {
        match self {
            Patience::Endless => backoff.wait(),
            // What it has to wait for, it waits for where it finds it.
            #[cfg(tollgate_loom)]
            Patience::Limited => {}
        }
    }
}

/// Wait until a value changes.
#[derive(Debug)]
pub(super) struct Wait {
    patience: Patience,
    backoff: Backoff,
}

impl Wait {
    /// Waits a little. Returns true when this value has been seen for so long that the thread which
    /// should change it counts as gone.
    pub(super) fn is_over(&mut self, _value: u64) -> bool {
        match self.patience {
            Patience::Endless => {
                self.backoff.wait();
                false
            }
            // In models any thread may count as gone at any moment, which includes every time limit.
            #[cfg(tollgate_loom)]
            Patience::Limited => true,
        }
    }
}
