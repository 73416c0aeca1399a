//! Background task: probes during an outage, checks after a timeout, and polls of the shared
//! settings otherwise.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::inner::Inner;

/// Interval of settings polls. A process that missed a published change is stale for at most this
/// long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Probes, checks or polls, forever.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut failed_probes = 0;
    loop {
        if !inner.store.health.is_up() {
            sleep(backoff(failed_probes)).await;
            failed_probes = match inner.recover().await {
                Ok(()) => {
                    tracing::info!("Redis available again");
                    0
                }
                Err(_) => failed_probes + 1,
            };
        } else if let Some(suspicion) = inner.store.health.suspected() {
            inner.store.check(&suspicion).await;
        } else if timeout(POLL_INTERVAL, inner.store.health.troubled())
            .await
            .is_err()
        {
            inner.settings.poll().await;
        }
    }
}

/// Pause before a probe, after this many failed ones. Short at first, since most outages are.
fn backoff(failed_probes: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_millis(500);
    (FIRST * 2_u32.pow(failed_probes.min(8))).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_two_probes_a_second() {
        let pauses: Vec<_> = (0..40).map(backoff).collect();
        assert!(pauses.is_sorted());
        assert_eq!(
            (pauses[0], pauses[1]),
            (Duration::from_millis(50), Duration::from_millis(100))
        );
        assert_eq!(
            (pauses[4], pauses[39]),
            (Duration::from_millis(500), Duration::from_millis(500))
        );
    }
}
