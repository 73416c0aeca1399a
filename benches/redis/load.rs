//! Closed-loop load: tasks that request one decision after another, and their latencies.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tollgate::RedisLimiter;

/// Concurrency of a load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Calls in flight on each connection.
    pub under_way: usize,
}

/// Result of a side in a round. Latencies are in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Load {
    /// Runs for a duration. All decisions are about one key, are allowed, and have the expected
    /// source.
    pub async fn on(self, limiter: &RedisLimiter, time: Duration) -> Measured {
        let start = Instant::now();
        let tasks: Vec<_> = (0..self.connections * self.under_way)
            .map(|_| tokio::spawn(ask_until(limiter.clone(), start + time)))
            .collect();
        let mut all = histogram();
        for task in tasks {
            all.add(task.await.expect("load tasks do not panic"))
                .expect("both have the same bounds");
        }
        Measured {
            per_second: all.len() as f64 / start.elapsed().as_secs_f64(),
            p50: all.value_at_quantile(0.5) as f64 / 1000.0,
            p99: all.value_at_quantile(0.99) as f64 / 1000.0,
        }
    }
}

/// Latencies in nanoseconds.
async fn ask_until(limiter: RedisLimiter, end: Instant) -> Histogram<u64> {
    let mut times = histogram();
    let mut before = Instant::now();
    while before < end {
        let decision = limiter.try_acquire("hot", 1).await;
        assert!(decision.is_allowed(), "{decision}");
        let after = Instant::now();
        times.saturating_record((after - before).as_nanos() as u64);
        before = after;
    }
    times
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are good")
}
