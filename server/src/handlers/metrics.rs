//! Handler of `GET /metrics`.

use crate::{
    app::App,
    metrics::PerRoute,
    response::{self, Response},
};

/// Response with all metrics, including the statistics of the limiters.
pub(crate) fn response(app: &App) -> Response {
    let (default, routes) = (&app.limiter, &app.route_limits);
    let snapshot = app.metrics.snapshot(
        per_route(default.table_stats(), routes.table_stats()),
        per_route(default.redis_stats(), routes.redis_stats()),
    );
    response::metrics(snapshot.encode())
}

/// Statistics of the default limiter, which has no label, followed by those of routes.
fn per_route<'a, T>(default: Option<T>, routes: impl Iterator<Item = (&'a str, T)>) -> PerRoute<T> {
    let routes = routes.map(|(label, stats)| (Some(label.to_owned()), stats));
    default
        .map(|stats| (None, stats))
        .into_iter()
        .chain(routes)
        .collect()
}
