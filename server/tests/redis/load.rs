//! Three servers on one Redis, hammered: over all of them never more is allowed than the formula
//! says, in exact mode and with leases. A bucket that nobody has used yet is fresh, so that is its
//! capacity.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::process::Signal;
use test_support::redis::RedisServer;
use test_support::{Client, Launch, SLOW, Server, TEST_TIMEOUT, http::encode};

/// Requests that a connection sends before it reads the answers.
const PIPELINE: usize = 50;

const EXACT: &[&str] = &[];
/// A lease for 500 tokens is 50 at most, and one for 2 is one.
const TENTH: &[&str] = &["--redis-mode", "lease"];
const HALF: &[&str] = &["--redis-mode", "lease", "--lease-fraction", "0.5"];

/// What waits so long for Redis that a slow machine does not look like a dead Redis.
fn three_on(redis: &RedisServer, capacity: u32, mode: &[&str]) -> Vec<Server> {
    let (url, capacity) = (redis.url(), capacity.to_string());
    let flags = [
        "--redis",
        &url,
        "--redis-timeout",
        "10s",
        "--capacity",
        &capacity,
        "--refill-rate",
        SLOW,
    ];
    let flags = [&flags, mode].concat();
    let keys = "client = { header = 'X-API-Key' }";
    (0..3)
        .map(|_| Launch::new().args(&flags).config("keys.toml", keys).start())
        .collect()
}

/// Asks once for each key, and counts for each what was allowed. An error: the server is gone.
fn ask(client: &mut Client, keys: &[usize], allowed: &[AtomicU32]) -> io::Result<()> {
    for keys in keys.chunks(PIPELINE) {
        let request = |key: &usize| encode("GET", "/", &[("X-API-Key", &format!("key-{key}"))], "");
        client.send(&keys.iter().flat_map(request).collect::<Vec<u8>>())?;
        for key in keys {
            match client.read()?.status {
                200 => _ = allowed[*key].fetch_add(1, Ordering::Relaxed),
                429 => {}
                other => panic!("{other}"),
            }
        }
    }
    Ok(())
}

/// Every server is asked from several connections at once; the last one is killed in the middle, if
/// told so.
fn hammer(
    servers: &[Server],
    connections: usize,
    kill_one: bool,
    keys: &[usize],
    allowed: &[AtomicU32],
) {
    let asked = AtomicU32::new(0);
    let all = servers.len() * connections;
    thread::scope(|scope| {
        for n in 0..all {
            let (server, asked) = (&servers[n / connections], &asked);
            let dies = kill_one && n / connections == servers.len() - 1;
            scope.spawn(move || {
                let mut client = server.client();
                for part in keys.chunks(keys.len().div_ceil(20)) {
                    let result = ask(&mut client, part, allowed);
                    if dies && asked.fetch_add(1, Ordering::Relaxed) == 8 * connections as u32 {
                        server.signal(Signal::KILL);
                    }
                    match result {
                        Err(_) if dies => return,
                        result => result.unwrap(),
                    }
                }
            });
        }
    });
}

fn counters(keys: usize) -> Vec<AtomicU32> {
    (0..keys).map(|_| AtomicU32::new(0)).collect()
}

#[test]
fn of_one_key_exactly_the_capacity_is_allowed() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(&three_on(&redis, 500, EXACT), 4, false, &[0; 200], &allowed);
    assert_eq!(allowed[0].load(Ordering::Relaxed), 500, "of 2400 requests");
}

#[test]
fn of_one_key_no_more_is_allowed_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(&three_on(&redis, 500, EXACT), 4, true, &[0; 200], &allowed);
    // What the dead server had under way was taken, and nobody was told.
    let (allowed, lost) = (allowed[0].load(Ordering::Relaxed), 4 * PIPELINE as u32);
    assert!((500 - lost..=500).contains(&allowed), "{allowed}");
}

#[test]
fn of_ten_thousand_keys_each_gets_exactly_its_capacity() {
    let redis = RedisServer::start();
    let keys: Vec<usize> = (0..10_000).collect();
    let allowed = counters(keys.len());
    hammer(&three_on(&redis, 2, EXACT), 1, false, &keys, &allowed);
    assert!(
        allowed
            .iter()
            .all(|allowed| allowed.load(Ordering::Relaxed) == 2),
        "of 3 requests each"
    );
}

#[test]
fn of_ten_thousand_keys_none_gets_more_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let keys: Vec<usize> = (0..10_000).collect();
    let allowed = counters(keys.len());
    hammer(&three_on(&redis, 2, EXACT), 1, true, &keys, &allowed);
    let counts: Vec<u32> = allowed.into_iter().map(AtomicU32::into_inner).collect();
    assert!(counts.iter().all(|&count| count <= 2));
    let lost = counts.iter().filter(|&&count| count < 2).count();
    assert!(
        lost <= PIPELINE,
        "{lost} keys lost a token to the server that died"
    );
}

#[test]
fn of_one_key_on_lease_the_capacity_is_allowed_and_what_is_not_spent_comes_back() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    let mut servers = three_on(&redis, 500, TENTH);
    hammer(&servers, 4, false, &[0; 200], &allowed);
    let sum = allowed[0].load(Ordering::Relaxed);
    assert!((450..=500).contains(&sum), "{sum} of 2400 requests");
    // Two of them stop, and give back what they hold.
    for mut server in servers.drain(1..) {
        server.signal(Signal::TERM);
        assert!(server.exit_within(TEST_TIMEOUT).is_some());
    }
    for _ in sum..=500 {
        ask(&mut servers[0].client(), &[0], &allowed).unwrap();
    }
    assert_eq!(allowed[0].load(Ordering::Relaxed), 500);
}

#[test]
fn of_one_key_on_lease_no_more_is_allowed_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(&three_on(&redis, 500, TENTH), 4, true, &[0; 200], &allowed);
    // What the dead server had under way, and what it held; and what the others still hold.
    let (allowed, lost) = (
        allowed[0].load(Ordering::Relaxed),
        4 * PIPELINE as u32 + 50 + 50,
    );
    assert!((500 - lost..=500).contains(&allowed), "{allowed}");
}

#[test]
fn of_ten_thousand_keys_on_lease_none_gets_more_when_a_server_is_killed() {
    for kill_one in [false, true] {
        let redis = RedisServer::start();
        let keys: Vec<usize> = (0..10_000).collect();
        let allowed = counters(keys.len());
        hammer(&three_on(&redis, 2, HALF), 1, kill_one, &keys, &allowed);
        let counts: Vec<u32> = allowed.into_iter().map(AtomicU32::into_inner).collect();
        assert!(counts.iter().all(|&count| count <= 2));
        let lost = counts.iter().filter(|&&count| count < 2).count();
        assert!(
            lost <= if kill_one { PIPELINE } else { 0 },
            "{lost} keys lost a token"
        );
    }
}
