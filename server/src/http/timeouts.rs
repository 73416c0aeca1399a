//! Connection timeouts: closes slow and idle connections, and shuts all down gracefully.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::activity::{Activity, Shutdown, Snapshot};
use crate::{config::ConnectionLimits, metrics::Metrics};

/// Maximum time that a client may continue to send after a response that ended its request early.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Monitor of all open connections.
#[derive(Debug)]
pub(super) struct ConnectionMonitor {
    limits: ConnectionLimits,
    next_id: AtomicU64,
    connections: Mutex<Connections>,
    /// Notified when the last connection ends during shutdown.
    empty: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Connections {
    shutting_down: bool,
    open: HashMap<u64, MonitoredConnection>,
}

#[derive(Debug)]
struct MonitoredConnection {
    activity: Arc<Activity>,
    last: Snapshot,
    /// Time of the last sweep that saw progress.
    last_progress: Instant,
}

impl ConnectionMonitor {
    pub(super) fn new(limits: ConnectionLimits, metrics: Arc<Metrics>) -> Arc<ConnectionMonitor> {
        let (next_id, connections, empty) = Default::default();
        Arc::new(ConnectionMonitor {
            limits,
            next_id,
            connections,
            empty,
            metrics,
        })
    }

    /// Monitors a new connection until the guard is dropped.
    pub(super) fn track(self: &Arc<Self>, activity: &Arc<Activity>) -> ConnectionGuard {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = MonitoredConnection {
            activity: Arc::clone(activity),
            last: Snapshot::default(),
            last_progress: Instant::now(),
        };
        self.metrics
            .connections
            .accepted
            .fetch_add(1, Ordering::Relaxed);
        let mut connections = self.lock();
        if connections.shutting_down {
            activity.request_shutdown(Shutdown::Graceful);
        }
        connections.open.insert(id, connection);
        ConnectionGuard {
            monitor: Arc::clone(self),
            id,
        }
    }

    /// Sweeps over all connections periodically. Never returns.
    pub(super) async fn run(&self) {
        let shortest = self.limits.header_timeout.min(self.limits.idle_timeout);
        let pause = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            self.sweep(Instant::now());
        }
    }

    /// Closes the connections that have timed out.
    fn sweep(&self, now: Instant) {
        for connection in self.lock().open.values_mut() {
            if connection.has_timed_out(now, &self.limits) {
                connection.activity.request_shutdown(Shutdown::Immediate);
            }
        }
    }

    /// Requests a graceful shutdown of all connections, and waits up to `grace` until they have
    /// finished the requests in flight.
    pub(super) async fn shut_down(&self, grace: Duration) {
        let empty = self.empty.notified();
        let open = {
            let mut connections = self.lock();
            connections.shutting_down = true;
            for connection in connections.open.values() {
                connection.activity.request_shutdown(Shutdown::Graceful);
            }
            connections.open.len()
        };
        if open > 0 && tokio::time::timeout(grace, empty).await.is_err() {
            let open = self.lock().open.len();
            tracing::warn!(
                open,
                "shutdown grace period expired; closing open connections"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        // No panic leaves the map inconsistent.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl MonitoredConnection {
    /// Returns whether the connection has made no progress for longer than its timeout.
    fn has_timed_out(&mut self, now: Instant, limits: &ConnectionLimits) -> bool {
        let current = self.activity.snapshot();
        if current != self.last || current.reading_body {
            (self.last, self.last_progress) = (current, now);
            return false;
        }
        let timeout = match current {
            Snapshot {
                lingering: true, ..
            } => LINGER_TIMEOUT,
            // The client does not read the response.
            Snapshot {
                streaming: true, ..
            } => limits.idle_timeout,
            // An idle HTTP/2 connection receives frames other than requests, which set
            // `header_begun`.
            Snapshot {
                requests: 1..,
                http2: true,
                ..
            } => limits.idle_timeout,
            Snapshot {
                requests: 1..,
                header_begun: false,
                ..
            } => limits.idle_timeout,
            _ => limits.header_timeout,
        };
        now.duration_since(self.last_progress) >= timeout
    }
}

/// Drop guard of a monitored connection.
pub(super) struct ConnectionGuard {
    monitor: Arc<ConnectionMonitor>,
    id: u64,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        // Release: a reader that counts the end also counts the accept.
        self.monitor
            .metrics
            .connections
            .ended
            .fetch_add(1, Ordering::Release);
        let mut connections = self.monitor.lock();
        connections.open.remove(&self.id);
        if connections.shutting_down && connections.open.is_empty() {
            // The notification is stored when there is no waiter yet.
            self.monitor.empty.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitored(
        limits: ConnectionLimits,
    ) -> (Arc<ConnectionMonitor>, Arc<Activity>, ConnectionGuard) {
        let (monitor, activity) = (
            ConnectionMonitor::new(limits, Arc::default()),
            Arc::new(Activity::default()),
        );
        let guard = monitor.track(&activity);
        (monitor, activity, guard)
    }

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..ConnectionLimits::default()
        }
    }

    /// Returns the seconds after `start` at which the monitor, sweeping every second, requests an
    /// immediate shutdown.
    fn closed_after(
        monitor: &ConnectionMonitor,
        activity: &Activity,
        start: Instant,
    ) -> Option<u64> {
        (0..200).find(|seconds| {
            monitor.sweep(start + Duration::from_secs(*seconds));
            activity.shutdown() == Shutdown::Immediate
        })
    }

    #[test]
    fn a_silent_connection_is_closed_after_the_header_timeout() {
        let (monitor, activity, _guard) = monitored(limits());
        let closed = closed_after(&monitor, &activity, Instant::now());
        assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");
    }

    #[test]
    fn single_bytes_do_not_extend_the_header_timeout() {
        let (monitor, activity, _guard) = monitored(limits());
        let start = Instant::now();
        for seconds in 0..9 {
            activity.record_read();
            monitor.sweep(start + Duration::from_secs(seconds));
        }
        assert_eq!(activity.shutdown(), Shutdown::None);
        activity.record_read();
        monitor.sweep(start + Duration::from_secs(11));
        assert_eq!(activity.shutdown(), Shutdown::Immediate);
    }

    #[test]
    fn the_idle_timeout_applies_between_requests_and_then_the_header_timeout() {
        let (monitor, activity, _guard) = monitored(limits());
        activity.record_header(false);
        let start = Instant::now();
        for seconds in 0..55 {
            monitor.sweep(start + Duration::from_secs(seconds));
        }
        activity.record_read();
        let closed = closed_after(&monitor, &activity, start + Duration::from_secs(55));
        assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");

        let (monitor, activity, _guard) = monitored(limits());
        activity.record_header(false);
        let closed = closed_after(&monitor, &activity, Instant::now());
        assert!((60..=61).contains(&closed.unwrap()), "{closed:?}");
    }

    #[test]
    fn a_request_that_reads_its_body_is_not_idle() {
        let (monitor, activity, _guard) = monitored(limits());
        activity.record_header(false);
        let reading = activity.reading_body();
        assert_eq!(closed_after(&monitor, &activity, Instant::now()), None);
        activity.record_read();
        drop(reading);
        let closed = closed_after(&monitor, &activity, Instant::now());
        assert!(
            (60..=61).contains(&closed.unwrap()),
            "bytes of the body do not begin a header: {closed:?}"
        );
    }

    #[test]
    fn a_client_may_send_for_30_seconds_after_a_response_that_ended_its_request() {
        let (monitor, activity, _guard) = monitored(limits());
        activity.record_header(false);
        activity.record_lingering();
        let closed = closed_after(&monitor, &activity, Instant::now());
        assert!((30..=31).contains(&closed.unwrap()), "{closed:?}");
    }

    #[tokio::test]
    async fn a_graceful_shutdown_waits_for_the_last_connection() {
        let (monitor, activity, guard) = monitored(limits());
        let shutting_down = tokio::spawn({
            let monitor = Arc::clone(&monitor);
            async move { monitor.shut_down(Duration::from_secs(60)).await }
        });
        while activity.shutdown() == Shutdown::None {
            tokio::task::yield_now().await;
        }
        assert_eq!(activity.shutdown(), Shutdown::Graceful);
        assert!(!shutting_down.is_finished());
        drop(guard);
        shutting_down.await.unwrap();
        let late = Arc::new(Activity::default());
        let _guard = monitor.track(&late);
        assert_eq!(
            late.shutdown(),
            Shutdown::Graceful,
            "a late connection is shut down as well"
        );
    }
}
