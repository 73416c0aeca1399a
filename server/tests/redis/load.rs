//! Three servers under load on one Redis: together they never allow more requests than the bucket
//! permits, in exact mode and with leases. Buckets are unused at first, so the bound is the
//! capacity.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::process::Signal;
use test_support::redis::RedisServer;
use test_support::{Client, Launch, SLOW, Server, TEST_TIMEOUT, http::encode};

/// Requests that a connection pipelines before it reads the responses.
const PIPELINE: usize = 50;

const EXACT: &[&str] = &[];
/// A lease from a bucket of 500 tokens has at most 50, and one from a bucket of 2 has one.
const TENTH: &[&str] = &["--redis-mode", "lease"];
const HALF: &[&str] = &["--redis-mode", "lease", "--lease-fraction", "0.5"];

/// Starts three servers with a timeout long enough that a slow machine is not taken for a failed
/// Redis.
fn start_three(redis: &RedisServer, capacity: u32, mode: &[&str]) -> Vec<Server> {
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

/// Sends one request per key and counts the allowed ones by key. An error means that the server was
/// killed.
fn send_each(client: &mut Client, keys: &[usize], allowed: &[AtomicU32]) -> io::Result<()> {
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

/// Sends requests to every server from several connections. If `dies`, the last server is killed
/// halfway.
fn hammer(
    servers: &[Server],
    connections: usize,
    kill_one: bool,
    keys: &[usize],
    allowed: &[AtomicU32],
) {
    let sent = AtomicU32::new(0);
    let all = servers.len() * connections;
    thread::scope(|scope| {
        for n in 0..all {
            let (server, sent) = (&servers[n / connections], &sent);
            let dies = kill_one && n / connections == servers.len() - 1;
            scope.spawn(move || {
                let mut client = server.client();
                for part in keys.chunks(keys.len().div_ceil(20)) {
                    let result = send_each(&mut client, part, allowed);
                    if dies && sent.fetch_add(1, Ordering::Relaxed) == 8 * connections as u32 {
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
fn one_key_gets_exactly_its_capacity() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(
        &start_three(&redis, 500, EXACT),
        4,
        false,
        &[0; 200],
        &allowed,
    );
    assert_eq!(allowed[0].load(Ordering::Relaxed), 500, "of 2400 requests");
}

#[test]
fn one_key_gets_at_most_its_capacity_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(
        &start_three(&redis, 500, EXACT),
        4,
        true,
        &[0; 200],
        &allowed,
    );
    // Tokens of the killed server's requests in flight were taken, but not counted here.
    let (allowed, lost) = (allowed[0].load(Ordering::Relaxed), 4 * PIPELINE as u32);
    assert!((500 - lost..=500).contains(&allowed), "{allowed}");
}

#[test]
fn ten_thousand_keys_get_exactly_their_capacity() {
    let redis = RedisServer::start();
    let keys: Vec<usize> = (0..10_000).collect();
    let allowed = counters(keys.len());
    hammer(&start_three(&redis, 2, EXACT), 1, false, &keys, &allowed);
    assert!(
        allowed
            .iter()
            .all(|allowed| allowed.load(Ordering::Relaxed) == 2),
        "of 3 requests each"
    );
}

#[test]
fn ten_thousand_keys_get_at_most_their_capacity_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let keys: Vec<usize> = (0..10_000).collect();
    let allowed = counters(keys.len());
    hammer(&start_three(&redis, 2, EXACT), 1, true, &keys, &allowed);
    let counts: Vec<u32> = allowed.into_iter().map(AtomicU32::into_inner).collect();
    assert!(counts.iter().all(|&count| count <= 2));
    let lost = counts.iter().filter(|&&count| count < 2).count();
    assert!(
        lost <= PIPELINE,
        "{lost} keys lost a token to the killed server"
    );
}

#[test]
fn one_leased_key_gets_its_capacity_and_unused_tokens_return() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    let mut servers = start_three(&redis, 500, TENTH);
    hammer(&servers, 4, false, &[0; 200], &allowed);
    let sum = allowed[0].load(Ordering::Relaxed);
    assert!((450..=500).contains(&sum), "{sum} of 2400 requests");
    // Two servers stop and return their leased tokens.
    for mut server in servers.drain(1..) {
        server.signal(Signal::TERM);
        assert!(server.exit_within(TEST_TIMEOUT).is_some());
    }
    for _ in sum..=500 {
        send_each(&mut servers[0].client(), &[0], &allowed).unwrap();
    }
    assert_eq!(allowed[0].load(Ordering::Relaxed), 500);
}

#[test]
fn one_leased_key_gets_at_most_its_capacity_when_a_server_is_killed() {
    let redis = RedisServer::start();
    let allowed = counters(1);
    hammer(
        &start_three(&redis, 500, TENTH),
        4,
        true,
        &[0; 200],
        &allowed,
    );
    // Lost are the killed server's requests in flight and its leases. The others still hold leases.
    let (allowed, lost) = (
        allowed[0].load(Ordering::Relaxed),
        4 * PIPELINE as u32 + 50 + 50,
    );
    assert!((500 - lost..=500).contains(&allowed), "{allowed}");
}

#[test]
fn ten_thousand_leased_keys_get_at_most_their_capacity_when_a_server_is_killed() {
    for kill_one in [false, true] {
        let redis = RedisServer::start();
        let keys: Vec<usize> = (0..10_000).collect();
        let allowed = counters(keys.len());
        hammer(&start_three(&redis, 2, HALF), 1, kill_one, &keys, &allowed);
        let counts: Vec<u32> = allowed.into_iter().map(AtomicU32::into_inner).collect();
        assert!(counts.iter().all(|&count| count <= 2));
        let lost = counts.iter().filter(|&&count| count < 2).count();
        assert!(
            lost <= if kill_one { PIPELINE } else { 0 },
            "{lost} keys lost a token"
        );
    }
}
