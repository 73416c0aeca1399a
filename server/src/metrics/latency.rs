//! How long decisions take.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::counts::is_timed;

/// Upper bounds in nanoseconds: of decisions in memory first, and then of those that Redis makes.
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

/// A histogram. All threads share it, since so few decisions in memory are timed, and those of
/// Redis take so much longer.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    counts: [AtomicU64; BOUNDS.len()],
    nanos: AtomicU64,
}

pub(super) struct Sums {
    /// Upper bound in seconds, and how many are below it but above the one before.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) seconds: f64,
}

impl Latency {
    /// Times one decision in some.
    #[inline]
    pub(crate) fn sampled<T>(&self, decide: impl FnOnce() -> Option<T>) -> Option<T> {
        if !is_timed() {
            return decide();
        }
        let begin = Instant::now();
        let decided = decide();
        // Where nothing was decided, somebody else is asked, and timed.
        if decided.is_some() {
            self.took(begin.elapsed());
        }
        decided
    }

    /// Times a decision that waits for others.
    pub(crate) async fn timed<T>(&self, deciding: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let decided = deciding.await;
        self.took(begin.elapsed());
        decided
    }

    fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn sums(&self) -> Sums {
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
        Sums {
            buckets: BOUNDS.into_iter().map(bound).zip(counts).collect(),
            seconds: seconds(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let latency = Latency::default();
        for nanos in [0, 100, 101, 2_000_000, u64::MAX] {
            latency.took(Duration::from_nanos(nanos));
        }
        let buckets = latency.sums().buckets;
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
