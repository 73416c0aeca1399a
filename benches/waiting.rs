//! Waiting beside its peers: `cargo bench --features tokio --bench waiting`, and one of its tables by
//! `cargo bench --features tokio --bench waiting -- uncontended`.
//!
//! Real time, on two worker threads of tokio. Every table is measured in one run, with the sides in
//! turns; a figure is the median of its rounds.
//!
//! - *Impatience*: tasks that loop `timeout(patience, acquire(1))`, and pause 100 µs after a failure.
//!   The share of the tokens that the quota gave and that were used. The capacity is 10 ms of refill,
//!   and in the last rows less than a tick of tokio's timer, which is 1 ms.
//! - *Uncontended*: an `acquire` that need not wait, of a bucket and of a key, beside `try_acquire`.
//!   The caller uses the boolean outcome only.
//! - *Throughput*: acquires a second of 64 tasks, at a quota that never blocks and at a million a
//!   second.
//! - *Lateness*: one task that acquires a token at a time; the time from the exact moment at which a
//!   token is due until the task has it.
//!
//! tokio-rate-limit does not accept a capacity below a second of refill, so it starts with more tokens
//! than the others, and its lateness is not comparable.

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use tollgate::{Bucket, KeyedLimiter, Quota};

const TASKS: usize = 64;

/// A limiter under comparison: `capacity` tokens at once, then `rate` a second.
trait Waiter: Send + Sync + 'static {
    const NAME: &'static str;
    /// Returns the capacity that the limiter has when `capacity` is asked for.
    fn capacity(_rate: u32, capacity: u32) -> u32 {
        capacity
    }
    fn new(rate: u32, capacity: u32) -> Self;
    fn acquire(&self) -> impl Future<Output = ()> + Send;
}

struct Tollgate(Bucket);

impl Waiter for Tollgate {
    const NAME: &'static str = "tollgate";

    fn new(rate: u32, capacity: u32) -> Tollgate {
        Tollgate(Bucket::new(Quota::per_second(rate).with_capacity(capacity)))
    }

    async fn acquire(&self) {
        black_box(self.0.acquire(1).await.is_ok());
    }
}

struct Governor(DefaultDirectRateLimiter);

impl Waiter for Governor {
    const NAME: &'static str = "governor";

    fn new(rate: u32, capacity: u32) -> Governor {
        let number = |n| NonZeroU32::new(n).expect("positive");
        let quota = governor::Quota::per_second(number(rate)).allow_burst(number(capacity));
        Governor(RateLimiter::direct(quota))
    }

    async fn acquire(&self) {
        self.0.until_ready().await;
    }
}

struct Leaky(leaky_bucket::RateLimiter);

impl Waiter for Leaky {
    const NAME: &'static str = "leaky-bucket";

    fn new(rate: u32, capacity: u32) -> Leaky {
        // It refills in whole milliseconds at best.
        let (refill, interval) = match rate {
            rate if rate >= 1000 => (rate / 1000, Duration::from_millis(1)),
            rate => (1, Duration::from_secs(1) / rate),
        };
        let builder = leaky_bucket::RateLimiter::builder()
            .initial(capacity as usize)
            .max(capacity as usize)
            .refill(refill as usize)
            .interval(interval)
            .fair(true)
            .build();
        Leaky(builder)
    }

    async fn acquire(&self) {
        self.0.acquire_one().await;
    }
}

struct TokioRateLimit(tokio_rate_limit::RateLimiter);

impl Waiter for TokioRateLimit {
    const NAME: &'static str = "tokio-rate-limit";

    /// Its capacity is at least a second of refill.
    fn capacity(rate: u32, capacity: u32) -> u32 {
        capacity.max(rate)
    }

    fn new(rate: u32, capacity: u32) -> TokioRateLimit {
        let builder = tokio_rate_limit::RateLimiter::builder()
            .requests_per_second(rate.into())
            .burst(Self::capacity(rate, capacity).into());
        TokioRateLimit(builder.build().expect("a valid configuration"))
    }

    async fn acquire(&self) {
        black_box(self.0.acquire("key").await.permitted);
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("threads")
}

/// Runs `work` in each of `tasks` tasks, and returns the sum of what they return.
fn run<W: Waiter, F>(limiter: &Arc<W>, tasks: usize, work: impl Fn(Arc<W>) -> F) -> u64
where
    F: Future<Output = u64> + Send + 'static,
{
    let runtime = runtime();
    runtime.block_on(async {
        let handles: Vec<_> = (0..tasks)
            .map(|_| tokio::spawn(work(Arc::clone(limiter))))
            .collect();
        let mut sum = 0;
        for handle in handles {
            sum += handle.await.expect("no panic");
        }
        sum
    })
}

/// Returns the share of the tokens that was used, in per cent.
fn impatience<W: Waiter>(tasks: usize, patience: Duration, rate: u32, capacity: u32) -> f64 {
    const RUN: Duration = Duration::from_secs(2);
    let limiter = Arc::new(W::new(rate, capacity));
    let start = Instant::now();
    let used = run(&limiter, tasks, |limiter| async move {
        let mut used = 0;
        while start.elapsed() < RUN {
            match timeout(patience, limiter.acquire()).await {
                Ok(()) => used += 1,
                Err(_) => sleep(Duration::from_micros(100)).await,
            }
        }
        used
    });
    let given =
        f64::from(W::capacity(rate, capacity)) + f64::from(rate) * start.elapsed().as_secs_f64();
    100.0 * used as f64 / given
}

/// Returns the nanoseconds per operation of a task that need not wait.
fn uncontended(acquire: impl AsyncFn()) -> f64 {
    const OPERATIONS: u32 = 200_000;
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..OPERATIONS {
            acquire().await;
        }
        start.elapsed().as_nanos() as f64 / f64::from(OPERATIONS)
    })
}

/// Returns the acquires a second of 64 tasks, in thousands.
fn throughput<W: Waiter>(rate: u32, capacity: u32) -> f64 {
    const RUN: Duration = Duration::from_millis(500);
    let limiter = Arc::new(W::new(rate, capacity));
    let start = Instant::now();
    let stopped = Arc::new(AtomicU64::new(0));
    let acquired = run(&limiter, TASKS, |limiter| {
        let stopped = Arc::clone(&stopped);
        async move {
            let mut acquired = 0;
            loop {
                limiter.acquire().await;
                acquired += 1;
                if acquired % 64 == 0 {
                    if start.elapsed() >= RUN {
                        stopped.fetch_max(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
                        return acquired;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    acquired as f64 * 1e6 / stopped.load(Ordering::Relaxed) as f64
}

/// Returns the 99th percentile of the lateness, in milliseconds, at 100 tokens a second.
fn lateness<W: Waiter>() -> f64 {
    const TOKENS: u32 = 200;
    const PERIOD: Duration = Duration::from_millis(10);
    let limiter = W::new(100, 1);
    let runtime = runtime();
    let mut late = runtime.block_on(async {
        limiter.acquire().await;
        let (start, mut late) = (Instant::now(), Vec::new());
        for token in 1..=TOKENS {
            limiter.acquire().await;
            late.push(start.elapsed().saturating_sub(PERIOD * token));
        }
        late
    });
    late.sort();
    late[late.len() * 99 / 100].as_secs_f64() * 1e3
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures the sides in turns, and returns the median of each.
fn rounds<const N: usize>(rounds: usize, sides: [&dyn Fn() -> f64; N]) -> [f64; N] {
    let mut figures = [const { Vec::new() }; N];
    for round in 0..rounds {
        for side in 0..N {
            let side = (side + round) % N;
            figures[side].push(sides[side]());
        }
    }
    figures.map(median)
}

fn row<const N: usize>(name: &str, figures: [f64; N], digits: usize) {
    let cells: Vec<_> = figures
        .iter()
        .map(|figure| format!("{figure:.digits$}"))
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn heading(name: &str) {
    println!(
        "\n| {name} | {} | {} | {} | {} |\n| --- | ---: | ---: | ---: | ---: |",
        Tollgate::NAME,
        Governor::NAME,
        Leaky::NAME,
        TokioRateLimit::NAME
    );
}

/// Prints the shares of tokens that impatient tasks use.
fn compare_impatience() {
    heading("tokens used under impatience, per cent");
    for (tasks, patience, rate, capacity) in [
        (200, 10, 2_000, 20),
        (50, 5, 1_000, 10),
        (200, 2, 10_000, 100),
        (20, 16, 500, 5),
        (200, 10, 2_000, 1),
        (200, 2, 10_000, 5),
    ] {
        let patience = Duration::from_millis(patience);
        let figures = rounds(
            3,
            [
                &|| impatience::<Tollgate>(tasks, patience, rate, capacity),
                &|| impatience::<Governor>(tasks, patience, rate, capacity),
                &|| impatience::<Leaky>(tasks, patience, rate, capacity),
                &|| impatience::<TokioRateLimit>(tasks, patience, rate, capacity),
            ],
        );
        let name = format!("{tasks} tasks, {patience:?}, {rate}/s, capacity {capacity}");
        row(&name, figures, 1);
    }
}

/// Prints the acquires a second of many tasks.
fn compare_throughput() {
    heading("thousand acquires a second of 64 tasks");
    for (name, rate, capacity) in [
        ("a quota that never blocks", 1_000_000_000, 1_000_000_000),
        ("1,000,000/s, capacity 10,000", 1_000_000, 10_000),
    ] {
        let figures = rounds(
            5,
            [
                &|| throughput::<Tollgate>(rate, capacity),
                &|| throughput::<Governor>(rate, capacity),
                &|| throughput::<Leaky>(rate, capacity),
                &|| throughput::<TokioRateLimit>(rate, capacity),
            ],
        );
        row(name, figures, 0);
    }
}

/// Prints the lateness of wake-ups.
fn compare_lateness() {
    heading("99th percentile of lateness, ms");
    let figures = rounds(
        3,
        [
            &lateness::<Tollgate>,
            &lateness::<Governor>,
            &lateness::<Leaky>,
            &lateness::<TokioRateLimit>,
        ],
    );
    row("100/s, capacity 1", figures, 2);
}

/// Prints the cost of an `acquire` that need not wait.
fn compare_uncontended() {
    let bucket = Bucket::new(Quota::per_second(1_000_000_000).with_capacity(u32::MAX));
    let limiter = KeyedLimiter::<u64>::new(bucket.quota(), 1000);
    let governor = Governor::new(1_000_000_000, u32::MAX);
    let [
        acquire,
        try_acquire,
        acquire_key,
        try_acquire_key,
        until_ready,
        check,
    ] = rounds(
        31,
        [
            &|| {
                uncontended(async || {
                    black_box(black_box(&bucket).acquire(1).await.is_ok());
                })
            },
            &|| {
                uncontended(async || {
                    black_box(black_box(&bucket).try_acquire(1).is_allowed());
                })
            },
            &|| {
                uncontended(async || {
                    black_box(black_box(&limiter).acquire(&1, 1).await.is_ok());
                })
            },
            &|| {
                uncontended(async || {
                    black_box(black_box(&limiter).try_acquire(&1, 1).is_allowed());
                })
            },
            &|| uncontended(async || black_box(&governor).acquire().await),
            &|| {
                uncontended(async || {
                    black_box(black_box(&governor.0).check().is_ok());
                })
            },
        ],
    );
    println!("\n| an acquire that need not wait, ns | waiting | at once | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, waiting, at_once) in [
        ("tollgate", acquire, try_acquire),
        ("tollgate, a key", acquire_key, try_acquire_key),
        ("governor", until_ready, check),
    ] {
        row(name, [waiting, at_once, waiting / at_once], 2);
    }
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let tables: [(&str, fn()); 4] = [
        ("impatience", compare_impatience),
        ("throughput", compare_throughput),
        ("lateness", compare_lateness),
        ("uncontended", compare_uncontended),
    ];
    for (name, compare) in tables {
        if name.starts_with(&only) {
            compare();
        }
    }
}
