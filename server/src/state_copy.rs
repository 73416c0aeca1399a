//! Copies of the buckets on a disk, every few seconds and at the end.

use std::{sync::Arc, time::Duration};

use crate::app::{App, CurrentApp};

/// Interval of the copies: what was admitted since the last one is admitted again after a loss of power.
const INTERVAL: Duration = Duration::from_secs(10);

/// Copies again and again.
pub(crate) async fn run(current: CurrentApp) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        copy(current.load_full()).await;
    }
}

/// Copies once, on a thread for work that blocks.
pub(crate) async fn copy(app: Arc<App>) {
    let copied = tokio::task::spawn_blocking(move || app.copy_state()).await;
    if let Ok(Err(error)) = copied {
        tracing::warn!(%error, "buckets not copied to the disk");
    }
}
