//! Permit of a connection: an ordinary one, or a reserved one until the first request that it does
//! not cover.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{
    activity::Activity,
    admission::{Admission, Admitted, Origin, Permit},
};

/// Permit of a connection, released when the connection, and the tunnel that it may become, have
/// ended.
pub(super) struct ConnectionPermit {
    admission: Arc<Admission>,
    origin: Origin,
    activity: Arc<Activity>,
    /// `None` while the connection waits for an ordinary permit.
    permit: Mutex<Option<Permit>>,
    is_ordinary: AtomicBool,
}

impl ConnectionPermit {
    pub(super) fn new(
        permit: Permit,
        origin: Origin,
        activity: &Arc<Activity>,
    ) -> ConnectionPermit {
        ConnectionPermit {
            admission: Arc::clone(permit.admission()),
            origin,
            activity: Arc::clone(activity),
            is_ordinary: AtomicBool::new(!permit.is_reserved()),
            permit: Mutex::new(Some(permit)),
        }
    }

    /// Returns true if the connection may serve all requests.
    #[inline]
    pub(super) fn is_ordinary(&self) -> bool {
        self.is_ordinary.load(Ordering::Relaxed)
    }

    /// Gives up the reserved permit, and waits for an ordinary one. Returns false if the connection
    /// does not get one.
    pub(super) async fn exchange(&self) -> bool {
        if self.is_ordinary() {
            return true;
        }
        *self.lock() = None;
        let permit = match self.admission.readmit(self.origin, &self.activity) {
            Admitted::Now(permit) => Some(permit),
            Admitted::Later(waiting) => waiting.granted().await,
            Admitted::Refused => None,
        };
        let is_granted = permit.is_some();
        if is_granted {
            *self.lock() = permit;
            self.is_ordinary.store(true, Ordering::Relaxed);
        }
        // Of two concurrent HTTP/2 requests, one may have failed after the other succeeded.
        is_granted || self.is_ordinary()
    }

    /// Reports that the connection was not closed although that was requested.
    pub(super) fn refuse_eviction(&self) {
        match &*self.lock() {
            Some(permit) => permit.refuse_eviction(&self.activity),
            None => self.activity.cancel_eviction(),
        }
    }

    pub(super) fn record_eviction(&self) {
        if let Some(permit) = &*self.lock() {
            permit.record_eviction();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Permit>> {
        // A panic cannot leave the permit inconsistent.
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
