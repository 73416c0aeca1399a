//! Watches over all connections: ends those that are too slow or too idle, and all of them at
//! shutdown.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::activity::{Order, Progress, Seen};
use crate::{config::Bounds, metrics::Metrics};

/// How long a client may go on sending after an answer that ended its request.
const LINGER: Duration = Duration::from_secs(2);

/// The connections there are.
#[derive(Debug)]
pub(super) struct Watch {
    bounds: Bounds,
    next: AtomicU64,
    connections: Mutex<Connections>,
    /// Rung when the last connection ends.
    empty: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Connections {
    finishing: bool,
    open: HashMap<u64, Watched>,
}

#[derive(Debug)]
struct Watched {
    progress: Arc<Progress>,
    /// What was seen last, and since when nothing has moved.
    seen: Seen,
    since: Instant,
}

impl Watch {
    pub(super) fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Arc<Watch> {
        let (next, connections, empty) = Default::default();
        Arc::new(Watch {
            bounds,
            next,
            connections,
            empty,
            metrics,
        })
    }

    /// Watches over a new connection until the guard is dropped.
    pub(super) fn begin(self: &Arc<Watch>, progress: &Arc<Progress>) -> Guard {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let watched = Watched {
            progress: Arc::clone(progress),
            seen: Seen::default(),
            since: Instant::now(),
        };
        self.metrics
            .connections
            .accepted
            .fetch_add(1, Ordering::Relaxed);
        let mut connections = self.lock();
        if connections.finishing {
            progress.give(Order::Finish);
        }
        connections.open.insert(number, watched);
        Guard {
            watch: Arc::clone(self),
            number,
        }
    }

    /// Looks at all connections again and again, for ever.
    pub(super) async fn keep(&self) {
        let shortest = self.bounds.header_timeout.min(self.bounds.idle_timeout);
        let pause = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        for watched in self.lock().open.values_mut() {
            if watched.stands_still(now, &self.bounds) {
                watched.progress.give(Order::Close);
            }
        }
    }

    /// Lets all connections answer what is in flight, for so long at most.
    pub(super) async fn finish(&self, grace: Duration) {
        let empty = self.empty.notified();
        let open = {
            let mut connections = self.lock();
            connections.finishing = true;
            connections
                .open
                .values()
                .for_each(|watched| watched.progress.give(Order::Finish));
            connections.open.len()
        };
        if open > 0 && tokio::time::timeout(grace, empty).await.is_err() {
            let open = self.lock().open.len();
            tracing::warn!(open, "closed connections that had not finished in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        // The map is whole at every step.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Whether nothing has moved for longer than it may.
    fn stands_still(&mut self, now: Instant, bounds: &Bounds) -> bool {
        let seen = self.progress.seen();
        if seen != self.seen || seen.reading_body {
            (self.seen, self.since) = (seen, now);
            return false;
        }
        let most = match seen {
            Seen {
                lingering: true, ..
            } => LINGER,
            // The client does not take what there is for it.
            Seen { passing: true, .. } => bounds.idle_timeout,
            // Frames that are no requests come on an idle HTTP/2 connection, too.
            Seen {
                requests: 1..,
                http2: true,
                ..
            } => bounds.idle_timeout,
            Seen {
                requests: 1..,
                header_begun: false,
                ..
            } => bounds.idle_timeout,
            _ => bounds.header_timeout,
        };
        now.duration_since(self.since) >= most
    }
}

/// A connection that is watched over.
pub(super) struct Guard {
    watch: Arc<Watch>,
    number: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Who sees that it ended sees that it was accepted.
        self.watch
            .metrics
            .connections
            .ended
            .fetch_add(1, Ordering::Release);
        let mut connections = self.watch.lock();
        connections.open.remove(&self.number);
        if connections.finishing && connections.open.is_empty() {
            // A permit stays behind if nobody waits yet.
            self.watch.empty.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(bounds: Bounds) -> (Arc<Watch>, Arc<Progress>, Guard) {
        let (watch, progress) = (
            Watch::new(bounds, Arc::default()),
            Arc::new(Progress::default()),
        );
        let guard = watch.begin(&progress);
        (watch, progress, guard)
    }

    fn bounds() -> Bounds {
        Bounds {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..Bounds::default()
        }
    }

    /// Seconds from `start` at which the watch, looking every second, gives the order to close.
    fn closed_after(watch: &Watch, progress: &Progress, start: Instant) -> Option<u64> {
        (0..200).find(|seconds| {
            watch.look(start + Duration::from_secs(*seconds));
            progress.order() == Order::Close
        })
    }

    #[test]
    fn a_silent_client_has_the_time_of_a_header() {
        let (watch, progress, _guard) = watched(bounds());
        let closed = closed_after(&watch, &progress, Instant::now());
        assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");
    }

    #[test]
    fn bytes_alone_do_not_buy_a_header_more_time() {
        let (watch, progress, _guard) = watched(bounds());
        let start = Instant::now();
        for seconds in 0..9 {
            progress.bytes_came();
            watch.look(start + Duration::from_secs(seconds));
        }
        assert_eq!(progress.order(), Order::GoOn);
        progress.bytes_came();
        watch.look(start + Duration::from_secs(11));
        assert_eq!(progress.order(), Order::Close);
    }

    #[test]
    fn between_requests_there_is_the_time_to_idle_and_then_that_of_a_header() {
        let (watch, progress, _guard) = watched(bounds());
        progress.header_came(false);
        let start = Instant::now();
        for seconds in 0..55 {
            watch.look(start + Duration::from_secs(seconds));
        }
        progress.bytes_came();
        let closed = closed_after(&watch, &progress, start + Duration::from_secs(55));
        assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");

        let (watch, progress, _guard) = watched(bounds());
        progress.header_came(false);
        let closed = closed_after(&watch, &progress, Instant::now());
        assert!((60..=61).contains(&closed.unwrap()), "{closed:?}");
    }

    #[test]
    fn who_reads_a_body_is_busy() {
        let (watch, progress, _guard) = watched(bounds());
        progress.header_came(false);
        let reading = progress.reading_body();
        assert_eq!(closed_after(&watch, &progress, Instant::now()), None);
        progress.bytes_came();
        drop(reading);
        let closed = closed_after(&watch, &progress, Instant::now());
        assert!(
            (60..=61).contains(&closed.unwrap()),
            "the body's bytes were no header's: {closed:?}"
        );
    }

    #[tokio::test]
    async fn finishing_waits_for_the_last_connection() {
        let (watch, progress, guard) = watched(bounds());
        let finishing = tokio::spawn({
            let watch = Arc::clone(&watch);
            async move { watch.finish(Duration::from_secs(60)).await }
        });
        while progress.order() == Order::GoOn {
            tokio::task::yield_now().await;
        }
        assert_eq!(progress.order(), Order::Finish);
        assert!(!finishing.is_finished());
        drop(guard);
        finishing.await.unwrap();
        let late = Arc::new(Progress::default());
        let _guard = watch.begin(&late);
        assert_eq!(late.order(), Order::Finish, "who comes late is told, too");
    }
}
