//! redis-benchmark, and the call that it sends: the same as a limiter's, recorded from one.
//!
//! With one difference, in favour of redis-benchmark: it cuts an argument off at its first zero
//! byte, and the quota is sent as binary numbers. So its copy of the script holds the quota as text
//! and unpacks it from there, and redis-benchmark sends 104 bytes less.

use std::{fmt::Write, process::Command};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tollgate::{Quota, RedisLimiter};

use super::load::{Load, Measured};
use test_support::redis::RedisServer;

/// Script of a limiter, and the line in it that unpacks the quota.
const SCRIPT: &str = concat!(
    include_str!("../../src/redis/clock.lua"),
    "\n",
    include_str!("../../src/redis/take.lua")
);
const QUOTA: &str = "ARGV[1])";

/// Calls that take about a second.
const REQUESTS: usize = 100_000;

/// Arguments with which redis-benchmark does the work of a limiter with this quota.
pub async fn call_of(server: &RedisServer, quota: Quota) -> Vec<String> {
    let words = seen_call(server, quota).await;
    let text = |word: &Vec<u8>| String::from_utf8(word.clone()).expect("all but the quota is text");
    let [_, _, keys, key, quota, cost, life] = words.as_slice() else {
        panic!("another call than expected: {words:?}")
    };
    let mut literal = "\"".to_owned();
    quota
        .iter()
        .for_each(|byte| write!(literal, "\\{byte:03}").expect("a String takes all"));
    assert_eq!(
        SCRIPT.matches(QUOTA).count(),
        1,
        "the script unpacks the quota in one place"
    );
    let script = SCRIPT.replace(QUOTA, &(literal + "\")"));
    let hash: String = server.command(&["SCRIPT", "LOAD", &script]);
    // The quota's argument is empty.
    [
        "EVALSHA".to_owned(),
        hash,
        text(keys),
        text(key),
        "-".to_owned(),
        text(cost),
        text(life),
    ]
    .into()
}

/// Arguments of the last EVALSHA that a limiter with this quota sends for a decision.
async fn seen_call(server: &RedisServer, quota: Quota) -> Vec<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let target = ("127.0.0.1", server.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(target)
                .await
                .expect("the server was started");
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut chunk = vec![0; 65536];
                while let Ok(count @ 1..) = from_client.read(&mut chunk).await {
                    let _ = seen.send(chunk[..count].to_vec());
                    if to_server.write_all(&chunk[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let limiter = RedisLimiter::builder(&format!("redis://{address}/"), quota)
        .timeout(std::time::Duration::from_secs(20))
        .connections(1)
        .connect()
        .await
        .expect("the server was started");
    for _ in 0..2 {
        assert!(limiter.try_acquire("hot", 1).await.is_allowed());
    }
    let mut last = None;
    while let Ok(bytes) = calls.try_recv() {
        last = words(&bytes)
            .filter(|words| words[0] == b"EVALSHA" && words[3].ends_with(b":hot"))
            .or(last);
    }
    last.expect("a decision was sent")
}

/// Parses a command of Redis' protocol. Returns `None` for anything else.
fn words(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes;
    let mut number = |mark: u8| {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = rest[..end].strip_prefix(&[mark])?;
        let number: usize = std::str::from_utf8(line).ok()?.parse().ok()?;
        rest = &rest[end + 2..];
        let word = (mark == b'$')
            .then(|| rest.get(..number).map(<[u8]>::to_vec))
            .flatten();
        if mark == b'$' {
            rest = rest.get(number + 2..)?;
        }
        Some((number, word))
    };
    let (count, _) = number(b'*')?;
    let words: Vec<_> = (0..count).map_while(|_| number(b'$')?.1).collect();
    (words.len() == count).then_some(words)
}

/// Sends the call `calls` times, with this load.
pub fn redis_benchmark(server: &RedisServer, call: &[String], load: Load) -> Measured {
    let mut command = Command::new("redis-benchmark");
    command.args([
        "-p",
        &server.port.to_string(),
        "-n",
        &REQUESTS.to_string(),
        "--csv",
        "--precision",
        "3",
    ]);
    command.args([
        "-c",
        &load.connections.to_string(),
        "-P",
        &load.under_way.to_string(),
    ]);
    let output = command
        .args(call)
        .output()
        .expect("this bench needs redis-benchmark: apt-get install redis-tools");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = line
        .rsplit("\",\"")
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    // From the end: max, p99, p95, p50, min, average in milliseconds, then calls a second.
    let &[_, p99, _, p50, _, _, per_second, ..] = numbers.as_slice() else {
        panic!("{text}")
    };
    Measured {
        per_second,
        p50: p50 * 1000.0,
        p99: p99 * 1000.0,
    }
}
