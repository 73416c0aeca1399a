//! Requests that wait for their tokens instead of being refused.

use std::{hash::Hash, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollgate::{DecisionView, Outcome};

use crate::{
    client_slots::{ClientSlot, ClientSlots},
    config,
};

/// Longest wait of a request, and the requests that wait. A reload that changes the settings starts
/// to count anew: requests that wait then count against the bounds before.
pub(crate) struct Delay {
    settings: config::Delay,
    clients: Arc<ClientSlots>,
    total: Arc<Semaphore>,
}

/// Request that waits, counted until this is dropped.
#[derive(Debug)]
#[must_use = "the request is no longer counted"]
pub(crate) struct Delayed {
    _of_client: ClientSlot,
    _of_total: OwnedSemaphorePermit,
}

impl Delay {
    pub(crate) fn new(settings: config::Delay) -> Delay {
        Delay {
            settings,
            clients: ClientSlots::new(settings.max_per_client, 0),
            total: Arc::new(Semaphore::new(settings.max_total)),
        }
    }

    pub(crate) fn settings(&self) -> config::Delay {
        self.settings
    }

    pub(crate) fn max_wait(&self) -> Duration {
        self.settings.max_wait
    }

    /// Returns true for a refusal that ends within the longest wait.
    pub(crate) fn covers(&self, decision: &DecisionView) -> bool {
        ends_within(decision, self.max_wait())
    }

    /// Counts a request of a client that begins to wait. `None`: too many wait already.
    pub(crate) fn enter(&self, client: impl Hash) -> Option<Delayed> {
        Some(Delayed {
            _of_client: self.clients.try_acquire(self.clients.key(client), false)?,
            _of_total: Arc::clone(&self.total).try_acquire_owned().ok()?,
        })
    }
}

/// Returns true for a refusal that ends within this time.
pub(super) fn ends_within(decision: &DecisionView, time: Duration) -> bool {
    decision.outcome() == Outcome::Refused
        && decision.retry_after().is_some_and(|wait| wait <= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_requests_are_bounded_per_client_and_in_total() {
        let delay = Delay::new(config::Delay {
            max_wait: Duration::from_secs(1),
            max_per_client: 2,
            max_total: 3,
        });
        let (one, other) = (
            [delay.enter("one"), delay.enter("one")],
            delay.enter("other"),
        );
        assert!(one.iter().chain([&other]).all(Option::is_some));
        assert!(delay.enter("other").is_none(), "the total is reached");
        drop(other);
        assert!(
            delay.enter("one").is_none(),
            "the bound of a client is reached"
        );
        assert!(delay.enter("third").is_some());
        drop(one);
        assert!(delay.enter("one").is_some());
    }
}
