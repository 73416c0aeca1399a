//! Cost of a limit shared through Redis, beside the capacity of the server itself. Ends with a
//! table.
//!
//! **Exact mode** is compared with redis-benchmark, which sends the same call as a limiter, on as
//! many connections and with as many calls in flight. Both run alternately, a second each, and a
//! ratio is the median of the rounds. Server and load share the machine's processors, so the
//! absolute numbers depend on both.
//!
//! **Lease mode** is compared with exact mode, and an **outage** with buckets in memory, with
//! threads that decide in a tight loop. A **refused flood** should be cheap for the server: its
//! measure is the number of calls that reach the server.
//!
//! A word after `--` runs only the scenarios that begin with it.
//!
//! Needs `redis-server` and `redis-benchmark`: apt-get install redis-server redis-tools

#[path = "redis/load.rs"]
mod load;
#[path = "redis/peer.rs"]
mod peer;
#[path = "redis/spin.rs"]
mod spin;

use std::{sync::OnceLock, time::Duration};

use load::{Load, Measured};
use spin::spin;
use test_support::redis::RedisServer;
use tokio::runtime::{Builder, Runtime};
use tollgate::{Decision, KeyedLimiter, Quota, RedisLimiter, RedisLimiterBuilder};

const SECOND: Duration = Duration::from_secs(1);
/// Rounds of a second.
const ROUNDS: usize = 5;

/// Always draining, never exhausted.
fn quota() -> Quota {
    Quota::per_second(1_000_000).with_capacity(u32::MAX)
}

/// A limiter with a timeout that a busy machine does not reach.
fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    RedisLimiter::builder(&server.url(), quota).timeout(Duration::from_secs(20))
}

fn main() {
    // `cargo test --benches` only checks that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    println!(
        "| scenario | decisions/s | p50 | p99 | beside | decisions/s | p50 | p99 | ratio | target | verdict |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let wanted = |scenario: &str| scenario.starts_with(&only);
    runtime.block_on(async {
        for (connections, under_way, scenario) in [
            (50, 1, "exact, 50 connections"),
            (4, 16, "exact, 4 connections, 16 calls in flight on each"),
        ] {
            if wanted(scenario) {
                exact(
                    scenario,
                    Load {
                        connections,
                        under_way,
                    },
                )
                .await;
            }
        }
        if wanted("lease, hot key") {
            leased().await;
        }
        if wanted("outage, 1000 keys") {
            outage().await;
        }
        if wanted("refused flood") {
            flood().await;
        }
    });
}

/// Compares with exact mode, at the number of calls in flight where it is fastest.
async fn leased() {
    let server = RedisServer::start();
    let load = Load {
        connections: 4,
        under_way: 16,
    };
    let exact = builder(&server, quota())
        .connections(load.connections)
        .connect()
        .await
        .expect("the server was started");
    let leased = builder(&server, quota())
        .lease(0.1)
        .connect()
        .await
        .expect("the server was started");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = apart(|| {
            spin(SECOND, |_, _| {
                let decision = ask(&leased, b"hot");
                assert!(decision.is_allowed(), "{decision}");
            })
        });
        rounds.push((ours, load.on(&exact, SECOND).await));
    }
    row("lease, hot key", "exact", &rounds, Some(100.0));
}

/// Compares with a table in memory, with a thousand keys.
async fn outage() {
    let mut server = RedisServer::start();
    let limiter = builder(&server, quota())
        .connect()
        .await
        .expect("the server was started");
    server.kill();
    while limiter.stats().up {
        let _ = limiter.try_acquire("key", 1).await;
    }
    let memory = KeyedLimiter::new(quota(), 100_000);
    let names: Vec<String> = (0..1000).map(|n| format!("client {n}")).collect();
    let name = |thread: usize, n: usize| names[(n * 7 + thread * 500) % names.len()].as_bytes();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = apart(|| {
            spin(SECOND, |thread, n| {
                assert!(ask(&limiter, name(thread, n)).is_allowed())
            })
        });
        let theirs = apart(|| {
            spin(SECOND, |thread, n| {
                assert!(memory.try_acquire(name(thread, n), 1).is_allowed())
            })
        });
        rounds.push((ours, theirs));
    }
    // The goal is one of the server's responses: see server/benches/outage.sh.
    row("outage, 1000 keys", "in memory", &rounds, None);
}

/// Counts calls that reach the server for an exhausted key.
async fn flood() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(100))
        .lease(0.1)
        .connect()
        .await
        .expect("the server was started");
    while limiter.try_acquire("hot", 1).await.is_allowed() {}
    let (before, time) = (calls(&server), 3 * SECOND);
    let ours = apart(|| spin(time, |_, _| assert!(ask(&limiter, b"hot").is_refused())));
    let a_second = (calls(&server) - before) as f64 / time.as_secs_f64();
    let verdict = if a_second <= 10.0 {
        "reached"
    } else {
        "MISSED"
    };
    println!(
        "| refused flood | {:.0} | {} | {} | calls that reach the server | {a_second:.1} | | | | at most 10 | {verdict} |",
        ours.per_second,
        micros(ours.p50),
        micros(ours.p99),
    );
}

/// Number of script calls.
fn calls(server: &RedisServer) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let calls = |line: &str| {
        line.split(['=', ','])
            .nth(1)
            .and_then(|calls| calls.parse::<u64>().ok())
    };
    stats
        .lines()
        .filter(|line| line.starts_with("cmdstat_eval"))
        .filter_map(calls)
        .sum()
}

/// Runs blocking work while the runtime continues.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Blocks a thread outside of any runtime on a future.
fn ask(limiter: &RedisLimiter, key: &[u8]) -> Decision {
    let at_once = limiter.try_acquire_at_once(key, 1);
    at_once.unwrap_or_else(|| waiting().block_on(limiter.try_acquire(key, 1)))
}

/// Runtime shared by all blocking waits.
fn waiting() -> &'static Runtime {
    static WAITING: OnceLock<Runtime> = OnceLock::new();
    WAITING.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made")
    })
}

/// Compares with redis-benchmark.
async fn exact(scenario: &str, load: Load) {
    let server = RedisServer::start();
    let call = peer::call_of(&server, quota()).await;
    let limiter = builder(&server, quota())
        .connections(load.connections)
        .connect()
        .await
        .expect("the server was started");
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // The first side alternates.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = load.on(&limiter, Duration::from_secs(1)).await;
            (ours, peer::redis_benchmark(&server, &call, load))
        } else {
            let theirs = peer::redis_benchmark(&server, &call, load);
            (load.on(&limiter, Duration::from_secs(1)).await, theirs)
        };
        rounds.push((ours, theirs));
    }
    row(scenario, "redis-benchmark", &rounds, Some(0.8));
}

/// Prints a row of the table: medians over the rounds.
fn row(scenario: &str, beside: &str, rounds: &[(Measured, Measured)], target: Option<f64>) {
    let middle = |of: &dyn Fn(&(Measured, Measured)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = middle(&|(ours, theirs)| ours.per_second / theirs.per_second);
    let verdict = target.map_or(
        "",
        |target| if ratio >= target { "reached" } else { "MISSED" },
    );
    let target = target.map_or(String::new(), |target| target.to_string());
    println!(
        "| {scenario} | {:.0} | {} | {} | {beside} | {:.0} | {} | {} | {ratio:.2} | {target} | {verdict} |",
        middle(&|(ours, _)| ours.per_second),
        micros(middle(&|(ours, _)| ours.p50)),
        micros(middle(&|(ours, _)| ours.p99)),
        middle(&|(_, theirs)| theirs.per_second),
        micros(middle(&|(_, theirs)| theirs.p50)),
        micros(middle(&|(_, theirs)| theirs.p99)),
    );
}

fn micros(micros: f64) -> String {
    if micros < 10.0 {
        format!("{micros:.2} µs")
    } else {
        format!("{micros:.0} µs")
    }
}
