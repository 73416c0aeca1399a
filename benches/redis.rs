//! What a limit shared through Redis costs, beside what the server itself can do. Ends with a table.
//!
//! **Exact mode** is compared with redis-benchmark, which sends the very call that a limiter was seen to send, on as many
//! connections and with as many calls under way. Both take turns, a second each, and a ratio is the median of the rounds'.
//! Server and load share the machine's processors, so the absolute numbers depend on both.
//!
//! Needs `redis-server` and `redis-benchmark`: apt-get install redis-server redis-tools

#[path = "redis/load.rs"]
mod load;
#[path = "redis/peer.rs"]
mod peer;
#[path = "../tests/support/redis.rs"]
mod server;

use std::time::Duration;

use load::{Load, Measured};
use server::RedisServer;
use tollgate::{Quota, RedisLimiter, RedisLimiterBuilder};

/// Rounds of a second.
const ROUNDS: usize = 5;

/// Always draining, never exhausted.
fn quota() -> Quota {
    Quota::per_second(1_000_000).capacity(u32::MAX)
}

/// A limiter that does not take a busy machine for an ill server.
fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    RedisLimiter::builder(&server.url(), quota).timeout(Duration::from_secs(20))
}

fn main() {
    // `cargo test --benches` only wants to know whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    println!("| scenario | decisions/s | p50 | p99 | beside | decisions/s | p50 | p99 | ratio | target | verdict |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    runtime.block_on(async {
        exact("exact, 50 connections", Load { connections: 50, under_way: 1 }).await;
        exact("exact, 4 connections, 16 calls under way on each", Load { connections: 4, under_way: 16 }).await;
    });
}

/// Beside redis-benchmark.
async fn exact(scenario: &str, load: Load) {
    let server = RedisServer::start();
    let call = peer::call_of(&server, quota()).await;
    let limiter = builder(&server, quota()).connections(load.connections).connect().await.expect("the server was started");
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // Who is first changes.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = load.on(&limiter, Duration::from_secs(1)).await;
            (ours, peer::redis_benchmark(&server, &call, load))
        } else {
            let theirs = peer::redis_benchmark(&server, &call, load);
            (load.on(&limiter, Duration::from_secs(1)).await, theirs)
        };
        rounds.push((ours, theirs));
    }
    row(scenario, "redis-benchmark", &rounds, 0.8);
}

/// A row of the table: medians over the rounds.
fn row(scenario: &str, beside: &str, rounds: &[(Measured, Measured)], target: f64) {
    let middle = |of: &dyn Fn(&(Measured, Measured)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = middle(&|(ours, theirs)| ours.per_second / theirs.per_second);
    let verdict = if ratio >= target { "reached" } else { "MISSED" };
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
    if micros < 10.0 { format!("{micros:.2} µs") } else { format!("{micros:.0} µs") }
}
