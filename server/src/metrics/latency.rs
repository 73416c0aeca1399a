//! Histogram of decision latencies.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::counters::is_sampled;

/// Upper bounds of the buckets in nanoseconds. The lower ones resolve decisions in memory, the
/// higher ones decisions in Redis.
const BOUNDS: [u64; 17] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    u64::MAX,
];

/// Latency histogram, shared by all threads. Contention is low: few in-memory decisions are timed,
/// and Redis decisions take much longer than an update.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    counts: [AtomicU64; BOUNDS.len()],
    nanos: AtomicU64,
}

/// Contents of a histogram.
pub(super) struct Totals {
    /// Upper bound in seconds, and the number of values above the previous bound up to this one.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) seconds: f64,
}

impl Latency {
    /// Runs an in-memory decision and times a sample of them.
    #[inline]
    pub(crate) fn sampled<T>(&self, decide: impl FnOnce() -> Option<T>) -> Option<T> {
        if !is_sampled() {
            return decide();
        }
        let begin = Instant::now();
        let decided = decide();
        // `None` means that the decision is made elsewhere, where it is timed.
        if decided.is_some() {
            self.record(begin.elapsed());
        }
        decided
    }

    /// Awaits a decision and times it.
    pub(crate) async fn timed<T>(&self, deciding: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let decided = deciding.await;
        self.record(begin.elapsed());
        decided
    }

    fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
        let bound = |bound| {
            if bound == u64::MAX {
                f64::INFINITY
            } else {
                seconds(bound)
            }
        };
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Totals {
            buckets: BOUNDS.into_iter().map(bound).zip(counts).collect(),
            seconds: seconds(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let latency = Latency::default();
        for nanos in [0, 100, 101, 2_000_000, u64::MAX] {
            latency.record(Duration::from_nanos(nanos));
        }
        let buckets = latency.totals().buckets;
        let filled: Vec<_> = buckets
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [(1e-7, 2), (2.5e-7, 1), (0.0025, 1), (f64::INFINITY, 1)]
        );
    }
}
