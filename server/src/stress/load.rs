//! Closed-loop load: many connections, each of which sends its next request when it has the
//! response to the last one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use hyper::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use super::{
    client::{Connection, Target},
    report::Report,
};
use crate::cli::Stress;

/// Number of latency histograms, of some 300 kB each, for any number of connections.
const SHARDS: usize = 16;
/// Range of the histograms: from 1 ns to more than the timeout of a connection.
const LONGEST_NANOS: u64 = 60_000_000_000;
/// Significant decimal digits of the histograms.
const DIGITS: u8 = 3;
/// Pause after a failure, so that an unavailable server is not retried in a tight loop.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Counters and histograms of all connections.
struct Totals {
    /// Requests still to be sent.
    remaining: AtomicU64,
    allowed: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
    failed: AtomicU64,
    latencies: [Mutex<Histogram<u64>>; SHARDS],
}

/// Settings of all connections.
struct Plan {
    target: Target,
    /// Pause after each response.
    interval: Duration,
    deadline: Option<Instant>,
}

pub(super) async fn run(flags: &Stress) -> Result<(), String> {
    let target = Target::new(&flags.url)?;
    let empty =
        Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS).map_err(|error| error.to_string())?;
    let total = flags.total.map(|total| total.get());
    let totals = Arc::new(Totals {
        remaining: total.unwrap_or(u64::MAX).into(),
        allowed: 0.into(),
        refused: 0.into(),
        other: 0.into(),
        failed: 0.into(),
        latencies: std::array::from_fn(|_| Mutex::new(empty.clone())),
    });
    let concurrency = flags
        .concurrency
        .map_or(1, |concurrency| concurrency.size());
    let mut connections = Vec::new();
    for _ in 0..concurrency {
        connections.push(target.connect().await?);
    }
    let (started, duration) = (Instant::now(), flags.max_duration());
    let interval = flags
        .interval
        .map_or(Duration::ZERO, |interval| interval.get());
    let plan = Arc::new(Plan {
        target,
        interval,
        deadline: duration.map(|duration| started + duration),
    });
    let mut workers = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        workers.spawn(work(
            Arc::clone(&plan),
            Arc::clone(&totals),
            number % SHARDS,
            connection,
        ));
    }
    let progress = tokio::spawn(show_progress(Arc::clone(&totals), started, total, duration));
    while workers.join_next().await.is_some() {}
    let elapsed = started.elapsed();
    progress.abort();
    let report = totals.report(elapsed, concurrency)?;
    print!("{report}");
    if report.responses() == 0 {
        Err(format!("{}: no response", flags.url))
    } else {
        Ok(())
    }
}

async fn work(plan: Arc<Plan>, totals: Arc<Totals>, shard: usize, connection: Connection) {
    let mut connection = Some(connection);
    while plan
        .deadline
        .is_none_or(|deadline| Instant::now() < deadline)
        && totals.take()
    {
        let is_open = match &mut connection {
            Some(connection) => connection.is_open().await,
            None => false,
        };
        if !is_open {
            connection = plan.target.connect().await.ok();
        }
        let sent = Instant::now();
        let response = match &mut connection {
            Some(connection) => connection.get(&plan.target).await.ok(),
            None => None,
        };
        match response {
            Some((status, _)) => totals.add(shard, status, sent.elapsed()),
            None => {
                connection = None;
                totals.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
        if !plan.interval.is_zero() {
            tokio::time::sleep(plan.interval).await;
        }
    }
}

impl Totals {
    /// Claims one request; false if none remain.
    fn take(&self) -> bool {
        self.remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| {
                remaining.checked_sub(1)
            })
            .is_ok()
    }

    fn add(&self, shard: usize, status: StatusCode, latency: Duration) {
        let counter = match status {
            StatusCode::TOO_MANY_REQUESTS => &self.refused,
            status if status.is_success() => &self.allowed,
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_record(nanos);
    }

    fn responses(&self) -> u64 {
        [&self.allowed, &self.refused, &self.other]
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    fn report(&self, elapsed: Duration, connections: usize) -> Result<Report, String> {
        let mut latencies = Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS)
            .map_err(|error: hdrhistogram::CreationError| error.to_string())?;
        for shard in &self.latencies {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.add(&*shard).map_err(|error| error.to_string())?;
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Report {
            elapsed,
            connections,
            allowed: count(&self.allowed),
            refused: count(&self.refused),
            other: count(&self.other),
            failed: count(&self.failed),
            latencies,
        })
    }
}

/// Shows a progress bar on standard error, if that is a terminal.
async fn show_progress(
    totals: Arc<Totals>,
    started: Instant,
    total: Option<u64>,
    duration: Option<Duration>,
) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::new(total.or(duration.map(millis)).unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {elapsed} {msg}") {
        bar.set_style(style);
    }
    loop {
        let (responses, elapsed) = (totals.responses(), started.elapsed());
        bar.set_position(if total.is_some() {
            responses
        } else {
            millis(elapsed)
        });
        let rate = responses as f64 / elapsed.as_secs_f64();
        bar.set_message(format!(
            "{responses} answers, {rate:.0}/s, {} refused",
            totals.refused.load(Ordering::Relaxed)
        ));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
