//! Connection timeouts: closes slow, stalled and idle connections, and shuts all down gracefully.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    mem,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::activity::{Activity, Shutdown, Snapshot};
use crate::{config::ConnectionLimits, memory::TotalMemory, metrics::Metrics, stall::StallClock};

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
    memory: Arc<TotalMemory>,
}

/// Time in which the first request of a new connection arrives.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Connections {
    shutting_down: bool,
    last_sweep: Option<Instant>,
    open: HashMap<u64, MonitoredConnection>,
}

#[derive(Debug)]
struct MonitoredConnection {
    activity: Arc<Activity>,
    /// The client's IPv4 address, or its IPv6 /64.
    network: IpAddr,
    last: Snapshot,
    /// Time of the last sweep that saw progress.
    last_progress: Instant,
    /// Bytes written to the socket, up to the last sweep.
    written: u64,
    /// At the last sweep the client did not read.
    was_blocked: bool,
    clock: StallClock,
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
            memory: TotalMemory::new(limits.max_unread_bytes),
        })
    }

    /// Returns the activity of a new connection. The connection of a trusted proxy carries many
    /// clients, so it may hold a quarter of the total.
    pub(super) fn activity(&self, is_trusted: bool) -> Arc<Activity> {
        let own = self.limits.max_unread_bytes_per_connection;
        let max = if is_trusted {
            own.max(self.limits.max_unread_bytes / 4)
        } else {
            own
        };
        Arc::new(Activity::new(self.memory.connection(max)))
    }

    /// Monitors a new connection of a client with this address until the guard is dropped.
    pub(super) fn track(
        self: &Arc<Self>,
        activity: &Arc<Activity>,
        address: IpAddr,
    ) -> ConnectionGuard {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = MonitoredConnection {
            activity: Arc::clone(activity),
            network: network(address),
            last: Snapshot::default(),
            last_progress: Instant::now(),
            written: 0,
            was_blocked: false,
            clock: StallClock::new(self.limits.stall_timeout),
        };
        self.metrics
            .connections
            .accepted
            .fetch_add(1, Ordering::Relaxed);
        let mut connections = self.lock();
        if connections.shutting_down {
            activity.request_shutdown(Shutdown::AfterFirst);
        }
        connections.open.insert(id, connection);
        ConnectionGuard {
            monitor: Arc::clone(self),
            id,
        }
    }

    /// Sweeps over all connections periodically. Never returns.
    pub(super) async fn run(&self) {
        let limits = &self.limits;
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.stall_timeout);
        let pause = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => self.sweep(Instant::now()),
                () = self.memory.exhausted() => self.release_memory(),
            }
        }
    }

    /// Closes the connections that have timed out, and resets stalled streams.
    fn sweep(&self, now: Instant) {
        let mut connections = self.lock();
        let last = connections.last_sweep.replace(now).unwrap_or(now);
        let elapsed = now.duration_since(last);
        for connection in connections.open.values_mut() {
            let is_stalled = connection.is_stalled(elapsed);
            let streams = connection
                .activity
                .unread_streams()
                .sweep(elapsed, self.limits.stall_timeout);
            let is_waiting = connection.was_blocked || streams.has_unread;
            if is_stalled
                || streams.must_close
                || connection.has_timed_out(now, &self.limits, is_waiting)
            {
                connection.activity.request_shutdown(Shutdown::Immediate);
            }
        }
    }

    /// Closes connections of the client that holds most of the memory, those that hold most first.
    fn release_memory(&self) {
        let mut excess = self.memory.excess();
        let connections = self.lock();
        let mut holders: HashMap<IpAddr, (usize, Vec<_>)> = HashMap::new();
        for connection in connections.open.values() {
            let used = connection.activity.memory().used();
            if used == 0 {
                continue;
            }
            if connection.activity.shutdown() == Shutdown::Immediate {
                // Its memory is about to be released.
                excess = excess.saturating_sub(used);
                continue;
            }
            let (total, held) = holders.entry(connection.network).or_default();
            *total += used;
            held.push((used, &connection.activity));
        }
        let mut holders: Vec<_> = holders.into_values().collect();
        holders.sort_unstable_by_key(|(total, _)| *total);
        let mut closed = 0_usize;
        while excess > 0
            && let Some((_, mut held)) = holders.pop()
        {
            held.sort_unstable_by_key(|(used, _)| *used);
            while excess > 0
                && let Some((used, activity)) = held.pop()
            {
                activity.request_shutdown(Shutdown::Immediate);
                excess = excess.saturating_sub(used);
                closed += 1;
            }
        }
        if closed > 0 {
            tracing::debug!(
                closed,
                "unread responses reach max_unread_bytes; connections closed"
            );
        }
    }

    /// Requests a graceful shutdown of all connections, and waits up to `grace` until they have
    /// finished the requests in flight. Connections without a request so far get a little time for it: a
    /// client that has just connected sends it at this moment, and would get a reset for it.
    pub(super) async fn shut_down(&self, grace: Duration) {
        let empty = self.empty.notified();
        let mut empty = pin!(empty);
        let open = {
            let mut connections = self.lock();
            connections.shutting_down = true;
            for MonitoredConnection { activity, .. } in connections.open.values() {
                activity.request_shutdown(if activity.has_requests() {
                    Shutdown::Graceful
                } else {
                    Shutdown::AfterFirst
                });
            }
            connections.open.len()
        };
        let first = FIRST_REQUEST_GRACE.min(grace);
        if open == 0 || tokio::time::timeout(first, &mut empty).await.is_ok() {
            return;
        }
        for connection in self.lock().open.values() {
            connection.activity.request_shutdown(Shutdown::Graceful);
        }
        if tokio::time::timeout(grace - first, empty).await.is_err() {
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
    /// Returns whether the client has not read what was written to the socket. Time counts when the
    /// socket was blocked at its begin and at its end.
    fn is_stalled(&mut self, elapsed: Duration) -> bool {
        let (written, blocked) = self.activity.writes();
        let transferred = written - mem::replace(&mut self.written, written);
        let was_blocked = mem::replace(&mut self.was_blocked, blocked > 0);
        self.clock.credit(transferred);
        was_blocked && blocked > 0 && self.clock.spend(elapsed)
    }

    /// Returns whether the connection has made no progress for longer than its timeout. A response
    /// that waits for the client has the stall clock instead.
    fn has_timed_out(&mut self, now: Instant, limits: &ConnectionLimits, is_waiting: bool) -> bool {
        let current = self.activity.snapshot();
        if current != self.last || current.in_progress || is_waiting {
            (self.last, self.last_progress) = (current, now);
            return false;
        }
        let timeout = match current {
            Snapshot {
                lingering: true, ..
            } => LINGER_TIMEOUT,
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

/// Returns the address of an IPv4 client, or the /64 of an IPv6 client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
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
