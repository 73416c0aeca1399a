//! What is counted, and `GET /metrics`.
//!
//! Labels are names of the configuration and of ours, never anything that a client chose: their
//! number is bounded, and nobody's identity is in them.

mod counts;
mod latency;
mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use self::counts::{Counts, Reason};
use self::{latency::Latency, text::Snapshot};
use crate::{
    answer::{self, Answer},
    limits::{Limits, OfRoutes},
};

/// Counts for as long as the process lives, however often the configuration is read again.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By label. What the configuration no longer has stays, so that no count ever goes back.
    routes: Mutex<BTreeMap<String, Arc<Counts>>>,
    pub(crate) latency: Latency,
    pub(crate) connections: Connections,
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) accepted: AtomicU64,
    pub(crate) ended: AtomicU64,
}

impl Metrics {
    /// The counts under this label.
    pub(crate) fn route(&self, label: &str) -> Arc<Counts> {
        Arc::clone(self.lock().entry(label.to_owned()).or_default())
    }

    /// The answer to `GET /metrics`.
    pub(crate) fn answer(&self, limits: &Limits, of_routes: &OfRoutes) -> Answer {
        answer::metrics(self.snapshot(limits, of_routes).encode())
    }

    fn snapshot(&self, limits: &Limits, of_routes: &OfRoutes) -> Snapshot {
        let routes = self
            .lock()
            .iter()
            .map(|(label, counts)| (label.clone(), counts.sums()))
            .collect();
        // In this order, so that never more have ended than were accepted.
        let ended = self.connections.ended.load(Ordering::Acquire);
        let accepted = self.connections.accepted.load(Ordering::Acquire);
        Snapshot {
            routes,
            latency: self.latency.sums(),
            accepted,
            open: accepted - ended.min(accepted),
            tables: of_each(limits.table(), of_routes.tables()),
            redis: of_each(limits.redis(), of_routes.redis()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Counts>>> {
        // The map is whole at every step.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the default, which has no label, and of routes.
fn of_each<'a, T>(
    default: Option<T>,
    of_routes: impl Iterator<Item = (&'a str, T)>,
) -> Vec<(Option<String>, T)> {
    let of_routes = of_routes.map(|(label, stats)| (Some(label.to_owned()), stats));
    default
        .map(|stats| (None, stats))
        .into_iter()
        .chain(of_routes)
        .collect()
}
