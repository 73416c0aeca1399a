//! Admission of connections: a bounded number of permits, eviction of idle connections, and a
//! reserve for the administration of this machine.
//!
//! Every open connection holds a permit. When all are in use, a new connection waits, and an idle
//! connection of the network with the most connections is closed in its favour, so a client that
//! fills the server competes with itself. A network never evicts a connection of another one that
//! has no more than itself. Connections with a request in progress are not evicted. Trusted proxies
//! are exempt, since each of their connections carries requests of many clients.
//!
//! The reserve admits loopback peers that would otherwise wait, so that health checks and the admin
//! API work on a full server. Such a connection exchanges its reserved permit for an ordinary one
//! before it serves anything else.
//!
//! One lock guards the state. It is taken when a connection begins, waits or ends, never by a request
//! on a connection with an ordinary permit.

mod holders;
mod state;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::{sync::oneshot, time::timeout};

pub(crate) use self::state::BEYOND_PERMITS;
use self::state::{Request, State};
pub(super) use self::{holders::Origin, state::PermitLimits};
use super::activity::Activity;
use crate::metrics::Metrics;

/// Permits of all connections.
pub(super) struct Admission {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

/// Outcome of a request for a permit.
pub(super) enum Admitted {
    Now(Permit),
    Later(WaitingPermit),
    /// The address has its maximum number of connections.
    Refused,
}

/// Permit of a connection, released on drop.
pub(super) struct Permit {
    admission: Arc<Admission>,
    id: u64,
    /// Only for loopback peers without forwarding headers, and only for the admin API and `/health`.
    is_reserved: bool,
}

/// Permit that is not granted yet. Dropping it leaves the queue.
pub(super) struct WaitingPermit {
    permit: Permit,
    granted: oneshot::Receiver<state::Granted>,
}

impl Admission {
    pub(super) fn new(limits: PermitLimits, metrics: Arc<Metrics>) -> Arc<Admission> {
        Arc::new(Admission {
            state: Mutex::new(State::new(limits)),
            metrics,
        })
    }

    /// Requests a permit for a new connection.
    pub(super) fn admit(self: &Arc<Self>, origin: Origin, activity: &Arc<Activity>) -> Admitted {
        let request = self.lock().admit(origin, activity);
        self.admitted(request)
    }

    /// Requests an ordinary permit for a connection that has given up a reserved one.
    pub(super) fn readmit(self: &Arc<Self>, origin: Origin, activity: &Arc<Activity>) -> Admitted {
        let request = self.lock().readmit(origin, activity);
        self.admitted(request)
    }

    fn admitted(self: &Arc<Self>, request: Request) -> Admitted {
        let permit = |id, is_reserved| Permit {
            admission: Arc::clone(self),
            id,
            is_reserved,
        };
        match request {
            Request::Granted(id, granted) => {
                Admitted::Now(permit(id, granted == state::Granted::Reserved))
            }
            Request::Waiting(id, granted) => {
                let permit = permit(id, false);
                Admitted::Later(WaitingPermit { permit, granted })
            }
            Request::Refused => {
                self.metrics
                    .connections
                    .refused
                    .fetch_add(1, Ordering::Relaxed);
                Admitted::Refused
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl Permit {
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Reports that the connection stays open although it was to be closed if idle.
    pub(super) fn refuse_eviction(&self, activity: &Activity) {
        self.admission.lock().refuse_eviction(self.id, activity);
    }

    /// Counts the connection as evicted.
    pub(super) fn record_eviction(&self) {
        let evicted = &self.admission.metrics.connections.evicted;
        evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().release(self.id);
    }
}

impl WaitingPermit {
    /// Waits for the permit. Returns `None` if the queue was full and the connection made room for
    /// one of a smaller holder.
    pub(super) async fn granted(mut self) -> Option<Permit> {
        loop {
            match timeout(state::RETRY_INTERVAL, &mut self.granted).await {
                Ok(Ok(granted)) => {
                    self.permit.is_reserved = granted == state::Granted::Reserved;
                    return Some(self.permit);
                }
                Ok(Err(_)) => return None,
                // A connection that becomes idle is not announced: requests would pay for it.
                Err(_) => self.permit.admission.lock().settle(),
            }
        }
    }
}
