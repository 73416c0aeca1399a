//! Updates of limits under traffic: every request observes one consistent configuration.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use test_support::{Response, Server};

/// Two configurations: capacity and seconds per token.
const FLIPS: [(u64, u64); 2] = [(100, 1000), (7, 100)];

#[test]
fn no_request_observes_a_partial_update() {
    let server = Server::with_capacity(100);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                // Two clients share a bucket, two have their own.
                let source = ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"][worker];
                let mut client = server.client_from(source);
                while !done.load(Ordering::Relaxed) {
                    assert_consistent(&client.get("/"));
                }
            });
        }
        scope.spawn(|| {
            let mut client = server.client();
            while !done.load(Ordering::Relaxed) {
                let config = client.get("/config").json();
                let capacity = config["capacity"].as_u64().unwrap();
                let rate = config["refill_rate"].as_f64().unwrap();
                let period = FLIPS
                    .iter()
                    .find(|(known, _)| *known == capacity)
                    .unwrap()
                    .1;
                assert!(
                    (rate * period as f64 - 1.0).abs() < 1e-6,
                    "{capacity} with {rate}"
                );
            }
        });
        let mut admin = server.client();
        for round in 0..300 {
            let (capacity, period) = FLIPS[round % 2];
            let change = json!({"capacity": capacity, "refill_rate": 1.0 / period as f64});
            let status = admin.post("/config", &change.to_string()).status;
            if status != 200 {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(status, 200);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Asserts that limit, remaining, reset and status come from the same configuration.
fn assert_consistent(response: &Response) {
    let (limit, remaining) = (response.limit(), response.remaining());
    let (capacity, period) = *FLIPS
        .iter()
        .find(|(capacity, _)| *capacity == limit)
        .unwrap_or_else(|| panic!("a limit that was never set: {response:?}"));
    let latest = (capacity - remaining.min(capacity)) * period;
    // Tokens refilled since the last update; the test may run for a minute.
    let earliest = latest.saturating_sub(60);
    // A request reads the clock once. Tokens that other requests take later than that extend the
    // reset rounded up.
    assert!(
        (earliest..=latest + 1).contains(&response.reset()),
        "{response:?}"
    );
    match response.status {
        200 => assert!(remaining < capacity, "{response:?}"),
        429 => {
            assert_eq!(remaining, 0, "{response:?}");
            let wait = response.retry_after();
            assert!(
                wait <= period as f64 + 0.1 && wait > period as f64 - 60.0,
                "{response:?}"
            );
        }
        other => panic!("{other}: {response:?}"),
    }
}
