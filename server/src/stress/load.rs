//! A real load: many connections at once, each sending its next request when it has the answer.

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
    report::Report,
    target::{Connection, Target},
};
use crate::cli::Stress;

/// Latencies are kept in so many histograms of some 300 kB, however many connections there are.
const SHARDS: usize = 16;
/// From a nanosecond to more than the patience of a connection, to three digits.
const LONGEST_NANOS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// After a failure, so that a server that is gone is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections add to.
struct Totals {
    /// Requests that may still be sent.
    left: AtomicU64,
    allowed: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
    failed: AtomicU64,
    latencies: [Mutex<Histogram<u64>>; SHARDS],
}

struct Plan {
    target: Target,
    interval: Duration,
    ends: Option<Instant>,
}

pub(super) async fn run(flags: &Stress) -> Result<(), String> {
    let target = Target::new(&flags.url)?;
    let empty =
        Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS).map_err(|error| error.to_string())?;
    let total = flags.total.map(|total| total.0);
    let totals = Arc::new(Totals {
        left: total.unwrap_or(u64::MAX).into(),
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
    let (started, lasts) = (Instant::now(), flags.lasts());
    let interval = flags.interval.map_or(Duration::ZERO, |interval| interval.0);
    let plan = Arc::new(Plan {
        target,
        interval,
        ends: lasts.map(|lasts| started + lasts),
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
    let progress = tokio::spawn(show_progress(Arc::clone(&totals), started, total, lasts));
    while workers.join_next().await.is_some() {}
    let elapsed = started.elapsed();
    progress.abort();
    let report = totals.report(elapsed, concurrency)?;
    print!("{report}");
    if report.answers() == 0 {
        Err(format!("{} did not answer", flags.url))
    } else {
        Ok(())
    }
}

async fn work(plan: Arc<Plan>, totals: Arc<Totals>, shard: usize, connection: Connection) {
    let mut connection = Some(connection);
    while plan.ends.is_none_or(|ends| Instant::now() < ends) && totals.take() {
        let open = match &mut connection {
            Some(connection) => connection.is_open().await,
            None => false,
        };
        if !open {
            connection = plan.target.connect().await.ok();
        }
        let sent = Instant::now();
        let answer = match &mut connection {
            Some(connection) => connection.get(&plan.target).await.ok(),
            None => None,
        };
        match answer {
            Some((status, _)) => totals.add(shard, status, sent.elapsed()),
            None => {
                connection = None;
                totals.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
        if !plan.interval.is_zero() {
            tokio::time::sleep(plan.interval).await;
        }
    }
}

impl Totals {
    /// Takes leave for one request, if any is left.
    fn take(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
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

    fn answers(&self) -> u64 {
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

/// Shown on a terminal only, on standard error.
async fn show_progress(
    totals: Arc<Totals>,
    started: Instant,
    total: Option<u64>,
    lasts: Option<Duration>,
) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::new(total.or(lasts.map(millis)).unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {elapsed} {msg}") {
        bar.set_style(style);
    }
    loop {
        let (answers, elapsed) = (totals.answers(), started.elapsed());
        bar.set_position(if total.is_some() {
            answers
        } else {
            millis(elapsed)
        });
        let rate = answers as f64 / elapsed.as_secs_f64();
        bar.set_message(format!(
            "{answers} answers, {rate:.0}/s, {} refused",
            totals.refused.load(Ordering::Relaxed)
        ));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
