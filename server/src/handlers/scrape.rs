//! Handler of `GET /metrics`, which Prometheus scrapes.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::{sync::Semaphore, task};

use crate::{
    app::App,
    limit::Limiter,
    metrics::{PerRoute, Snapshot},
    response::{self, Response},
};

/// Permit to scan the tables. Scans at the same time would only slow one another down.
static SCAN: Semaphore = Semaphore::const_new(1);

/// Response with all metrics, including the statistics of the limiters.
///
/// The statistics of a table read every slot: tens of milliseconds for millions of clients. They run
/// on a thread of their own, since the connections of a worker would wait that long.
pub(super) async fn response(app: &App) -> Response {
    let limiters = app.limiters();
    let scanned = {
        // The semaphore is never closed.
        let _permit = SCAN.acquire().await;
        let limiters = limiters.clone();
        task::spawn_blocking(move || stats(&limiters, Limiter::table_stats)).await
    };
    let Ok(tables) = scanned else {
        return response::error(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    };
    let redis = stats(&limiters, Limiter::redis_stats);
    response::metrics(Snapshot::new(&app.metrics, tables, redis).encode())
}

/// Returns the statistics of the limiters that have them.
fn stats<T>(
    limiters: &PerRoute<Arc<Limiter>>,
    stats: impl Fn(&Limiter) -> Option<T>,
) -> PerRoute<T> {
    limiters
        .iter()
        .filter_map(|(label, limiter)| Some((label.clone(), stats(limiter)?)))
        .collect()
}
