//! Drop guard for a message in flight.

use std::sync::Arc;

use crate::redis::lease::key::Key;

/// Message in flight. It counts as lost when dropped before its reply arrives, whatever ends its
/// task.
pub(super) struct Flight {
    key: Arc<Key>,
    seq: u64,
    landed: bool,
}

impl Flight {
    pub(super) fn new(key: &Arc<Key>, seq: u64) -> Flight {
        Flight {
            key: Arc::clone(key),
            seq,
            landed: false,
        }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The reply has arrived.
    pub(super) fn land(&mut self) -> &Key {
        self.landed = true;
        &self.key
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.key.on_lost(self.seq);
        }
    }
}
