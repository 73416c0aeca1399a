//! Counters of the process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    counters::{RouteCounters, Totals},
    credentials::CredentialFailures,
    latency::Latency,
};

/// Counters of the process. They survive configuration reloads.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By label. Routes that a reload removed stay, so that no counter ever decreases.
    routes: Mutex<BTreeMap<String, Arc<RouteCounters>>>,
    /// By name and mode: that of a limit that is enforced, or of a shadow limit.
    limits: Mutex<BTreeMap<(String, &'static str), Arc<RouteCounters>>>,
    pub(crate) latency: Latency,
    pub(crate) credentials: CredentialFailures,
    pub(crate) connections: ConnectionCounters,
    pub(crate) client_share: ClientShareCounters,
    /// Requests that waited for their tokens.
    delayed: AtomicU64,
}

/// Numbers of requests refused because their client held its share of a gateway's requests and
/// tunnels.
#[derive(Debug, Default)]
pub(crate) struct ClientShareCounters {
    requests: AtomicU64,
    tunnels: AtomicU64,
}

/// Numbers of connections since the start.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) accepted: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// Idle connections closed in favour of new ones.
    pub(crate) evicted: AtomicU64,
    /// Connections closed because their address had its maximum.
    pub(crate) refused: AtomicU64,
}

impl ClientShareCounters {
    pub(crate) fn record_refusal(&self, is_tunnel: bool) {
        let counter = if is_tunnel {
            &self.tunnels
        } else {
            &self.requests
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the numbers by the label `kind`.
    pub(super) fn totals(&self) -> [(&'static str, u64); 2] {
        [("request", &self.requests), ("tunnel", &self.tunnels)]
            .map(|(kind, counter)| (kind, counter.load(Ordering::Relaxed)))
    }
}

impl Metrics {
    /// Returns the counters of the route with this label.
    pub(crate) fn route(&self, label: &str) -> Arc<RouteCounters> {
        Arc::clone(self.lock().entry(label.to_owned()).or_default())
    }

    /// Returns the counters of the limit with this name and mode.
    pub(crate) fn limit(&self, name: &str, mode: &'static str) -> Arc<RouteCounters> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(limits.entry((name.to_owned(), mode)).or_default())
    }

    /// Returns the totals of limits, by name and mode.
    pub(super) fn limit_totals(&self) -> Vec<((String, &'static str), Totals)> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = limits.iter();
        totals
            .map(|(limit, counters)| (limit.clone(), counters.totals()))
            .collect()
    }

    /// Counts a request that begins to wait for its tokens.
    pub(crate) fn record_delay(&self) {
        self.delayed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RouteCounters>>> {
        // A panic cannot leave the map inconsistent, so a poisoned lock is usable.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
