//! Counters of the server, and their encoding for `GET /metrics`.
//!
//! Labels are names from the configuration and fixed names, never values that a client chose. Their
//! number is therefore bounded, and they identify no client.

mod counters;
mod credentials;
mod latency;
mod openmetrics;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tollgate::{KeyedStats, RedisStats};

pub(crate) use self::{
    counters::{Reason, RouteCounters},
    credentials::Credential,
    openmetrics::{PerRoute, Snapshot},
};
use self::{credentials::CredentialFailures, latency::Latency};

/// Counters of the process. They survive configuration reloads.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By label. Routes that a reload removed stay, so that no counter ever decreases.
    routes: Mutex<BTreeMap<String, Arc<RouteCounters>>>,
    pub(crate) latency: Latency,
    pub(crate) credentials: CredentialFailures,
    pub(crate) connections: ConnectionCounters,
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

impl Metrics {
    /// Returns the counters of the route with this label.
    pub(crate) fn route(&self, label: &str) -> Arc<RouteCounters> {
        Arc::clone(self.lock().entry(label.to_owned()).or_default())
    }

    /// Reads all counters. `tables` and `redis` are the statistics of the limiters.
    pub(crate) fn snapshot(
        &self,
        tables: PerRoute<KeyedStats>,
        redis: PerRoute<RedisStats>,
    ) -> Snapshot {
        let routes = self
            .lock()
            .iter()
            .map(|(label, counters)| (label.clone(), counters.totals()))
            .collect();
        // `ended` is read first, so that it never exceeds `accepted`.
        let ended = self.connections.ended.load(Ordering::Acquire);
        let accepted = self.connections.accepted.load(Ordering::Acquire);
        Snapshot {
            routes,
            latency: self.latency.totals(),
            credentials: self.credentials.totals(),
            accepted,
            open: accepted - ended.min(accepted),
            evicted: self.connections.evicted.load(Ordering::Relaxed),
            refused: self.connections.refused.load(Ordering::Relaxed),
            tables,
            redis,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RouteCounters>>> {
        // A panic cannot leave the map inconsistent, so a poisoned lock is usable.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
