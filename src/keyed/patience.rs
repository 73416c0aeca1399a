//! Limit of the time for which an insert waits for another one that holds a latch or has marked a slot.

use crate::sync::Backoff;

/// What becomes of a wait for another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The other thread goes on: threads of one process do.
    Endless,
}

impl Patience {
    pub(super) fn wait(self) -> Wait {
        Wait {
            patience: self,
            backoff: Backoff::default(),
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
        }
    }
}
