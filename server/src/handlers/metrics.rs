//! Handler of `GET /metrics`.

use std::sync::Arc;

use hyper::StatusCode;

use crate::{
    app::App,
    limit::{Limiter, RouteLimits},
    metrics::{Metrics, PerRoute},
    response::{self, Response},
};

/// Response with all metrics, including the statistics of the limiters. They are collected on a
/// thread of their own, because counting the buckets of a table visits all of its slots.
pub(crate) async fn response(app: &App) -> Response {
    let (metrics, default, routes) = (
        Arc::clone(&app.metrics),
        Arc::clone(&app.limiter),
        app.route_limits.clone(),
    );
    let permit = Arc::clone(&metrics.collecting).lock_owned().await;
    let collecting = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        text(&metrics, &default, &routes)
    });
    match collecting.await {
        Ok(text) => response::metrics(text),
        Err(error) => {
            tracing::error!(%error, "collecting metrics failed");
            response::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "collecting metrics failed",
            )
        }
    }
}

fn text(metrics: &Metrics, default: &Limiter, routes: &RouteLimits) -> String {
    let snapshot = metrics.snapshot(
        per_route(default.table_stats(), routes.table_stats()),
        per_route(default.redis_stats(), routes.redis_stats()),
    );
    snapshot.encode()
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
