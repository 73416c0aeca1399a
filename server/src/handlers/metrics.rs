//! Handler of `GET /metrics`.

use crate::{
    answer::{self, Answer},
    limits::{Limits, OfRoutes},
    metrics::{Metrics, PerRoute},
};

/// Response with all metrics, including the statistics of the limiters.
pub(crate) fn response(metrics: &Metrics, limits: &Limits, routes: &OfRoutes) -> Answer {
    let snapshot = metrics.snapshot(
        per_route(limits.table(), routes.tables()),
        per_route(limits.redis(), routes.redis()),
    );
    answer::metrics(snapshot.encode())
}

/// Statistics of the default limits, which have no label, followed by those of routes.
fn per_route<'a, T>(default: Option<T>, routes: impl Iterator<Item = (&'a str, T)>) -> PerRoute<T> {
    let routes = routes.map(|(label, stats)| (Some(label.to_owned()), stats));
    default
        .map(|stats| (None, stats))
        .into_iter()
        .chain(routes)
        .collect()
}
