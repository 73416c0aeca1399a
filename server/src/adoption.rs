//! Log of quotas that other processes have replaced, where they share the buckets.

use std::time::Duration;

use crate::app::CurrentApp;

const INTERVAL: Duration = Duration::from_secs(1);

/// Logs each replaced quota once. Requests see it at once: this only tells of it.
pub(crate) async fn log(current: CurrentApp) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        for (label, limiter) in current.load_full().limiters() {
            let Some((old, new)) = limiter.adopted_quota() else {
                continue;
            };
            let limit = label.map_or_else(
                || "default".to_owned(),
                |(kind, label)| format!("{kind} {label}"),
            );
            tracing::info!(%limit, %old, %new, "quota of another process adopted; all buckets full");
        }
    }
}
