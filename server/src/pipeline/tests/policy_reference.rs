//! Random policies and requests, decided by the server, in memory and by two instances with Redis, and
//! by a reference of all limits together.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use hyper::{Method, Request};
use proptest::{
    prelude::*,
    test_runner::{TestCaseResult, TestRunner},
};
use test_support::redis::RedisServer;
use tokio::runtime::Runtime;
use tollgate::ManualClock;

use super::{
    TestServer,
    reference::{Outcome, Part, Rate, Reference},
    respond, runtime,
};

type MatchesPattern = fn(&Method, &str) -> bool;
type KeyOf = fn(&Sent) -> Option<String>;
type CostOf = fn(&Method, &str) -> u32;

/// Pattern of requests, and what it means.
const PATTERNS: [(&str, MatchesPattern); 7] = [
    ("*", |_, _| true),
    ("GET *", |method, _| method == Method::GET),
    ("POST /a", |method, path| {
        method == Method::POST && path == "/a"
    }),
    ("/a/*", |_, path| path == "/a" || path.starts_with("/a/")),
    ("/a/{id}/x", |_, path| path == "/a/1/x" || path == "/a/2/x"),
    ("*.php", |_, path| path.ends_with(".php")),
    ("GET,POST /b", |method, path| {
        method != Method::DELETE && path == "/b"
    }),
];

/// Key, and its value for a request.
const KEYS: [(&str, KeyOf); 8] = [
    ("'ip'", |sent| Some(sent.peer.to_owned())),
    ("'global'", |_| Some(String::new())),
    ("'header:X-A'", |sent| sent.a.map(str::to_owned)),
    ("'header:X-A | ip'", |sent| {
        Some(
            sent.a
                .map_or_else(|| format!("ip {}", sent.peer), |a| format!("a {a}")),
        )
    }),
    ("['ip', 'header:X-A']", |sent| {
        Some(format!("{} {}", sent.peer, sent.a?))
    }),
    ("'path'", |sent| Some(sent.path.to_owned())),
    ("'path:2'", |sent| {
        sent.path.split('/').nth(2).map(str::to_owned)
    }),
    ("'cookie:s'", |sent| sent.cookie.map(str::to_owned)),
];

/// Quotas: text, capacity, and the tokens of so many seconds.
const QUOTAS: [(&str, u32, u32, u64); 5] = [
    ("3/s", 3, 3, 1),
    ("5/minute", 5, 5, 60),
    ("1/s burst 4", 4, 1, 1),
    ("10/hour", 10, 10, 3600),
    ("2/10s, capacity 3", 3, 2, 10),
];

/// Costs, and their meaning. No capacity is below 3.
const COSTS: [(&str, CostOf); 4] = [
    ("1", |_, _| 1),
    ("2", |_, _| 2),
    ("{ 'POST *' = 3, '*' = 1 }", |method, _| {
        if method == Method::POST { 3 } else { 1 }
    }),
    ("{ '/a' = 0, '/a/*' = 2 }", |_, path| match path {
        "/a" => 0,
        path if path.starts_with("/a/") => 2,
        _ => 1,
    }),
];

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];
const PATHS: [&str; 7] = ["/a", "/a/1/x", "/a/2", "/b", "/c.php", "/a/3/y/z", "/"];
const PEERS: [&str; 2] = ["192.0.2.7", "192.0.2.8"];

/// Limits, and the quota of the default one if there is one.
#[derive(Clone, Debug)]
struct Policy {
    default: Option<usize>,
    limits: Vec<Limit>,
}

#[derive(Clone, Debug)]
struct Limit {
    pattern: usize,
    key: usize,
    quotas: Vec<usize>,
    cost: usize,
    is_shadow: bool,
    skips: bool,
    /// Replaces the limit before it; the first one, the default limit.
    replaces: bool,
}

/// A request, sent after a pause.
#[derive(Clone, Debug)]
struct Sent {
    millis: u64,
    method: usize,
    path: &'static str,
    peer: &'static str,
    a: Option<&'static str>,
    cookie: Option<&'static str>,
}

/// What happens to a request.
#[derive(Debug)]
enum Meaning {
    Unauthorized,
    Limited(Vec<Part>),
}

fn limit() -> impl Strategy<Value = Limit> {
    let quotas = prop::collection::vec(0..QUOTAS.len(), 1..3);
    let flags = (
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::bool::weighted(0.3),
    );
    (
        0..PATTERNS.len(),
        0..KEYS.len(),
        quotas,
        0..COSTS.len(),
        flags,
    )
        .prop_map(
            |(pattern, key, quotas, cost, (is_shadow, skips, replaces))| Limit {
                pattern,
                key,
                quotas,
                cost,
                is_shadow,
                skips,
                replaces: replaces && !is_shadow,
            },
        )
}

fn sent() -> impl Strategy<Value = Sent> {
    let millis = prop_oneof![4 => 0..50_u64, 2 => 0..3000_u64, 1 => 0..100_000_u64];
    let values = prop::option::of(prop::sample::select(vec!["x", "y"]));
    (
        millis,
        0..METHODS.len(),
        prop::sample::select(PATHS.to_vec()),
        prop::sample::select(PEERS.to_vec()),
        values.clone(),
        values,
    )
        .prop_map(|(millis, method, path, peer, a, cookie)| Sent {
            millis,
            method,
            path,
            peer,
            a,
            cookie,
        })
}

fn settings(policy: &Policy) -> String {
    let limit = |(index, limit): (usize, &Limit)| {
        let quotas: Vec<_> = limit.quotas.iter().map(|quota| QUOTAS[*quota].0).collect();
        let replaced = match index.checked_sub(1) {
            _ if !limit.replaces => String::new(),
            Some(before) => format!("instead_of = 'l{before}'\n"),
            None if policy.default.is_some() => "instead_of = 'default'\n".to_owned(),
            None => String::new(),
        };
        let missing = if limit.skips { "skip" } else { "401" };
        format!(
            "[[limits]]\nname = 'l{index}'\nmatch = '{}'\nkey = {}\nquota = {quotas:?}\ncost = {}\nshadow = {}\nmissing = '{missing}'\n{replaced}",
            PATTERNS[limit.pattern].0, KEYS[limit.key].0, COSTS[limit.cost].0, limit.is_shadow
        )
    };
    let default = policy
        .default
        .map(|quota| format!("quota = '{}'\n", QUOTAS[quota].0));
    let limits = policy.limits.iter().enumerate().map(limit);
    default.into_iter().chain(limits).collect()
}

fn rate(quota: usize) -> Rate {
    let (text, capacity, tokens, seconds) = QUOTAS[quota];
    Rate::new(text, capacity, tokens, Duration::from_secs(seconds))
}

/// Returns the meaning of the limits for a request.
fn meaning(Policy { default, limits }: &Policy, sent: &Sent) -> Meaning {
    let method = &METHODS[sent.method];
    let (mut applying, mut replacing) = (Vec::new(), Vec::new());
    for (index, limit) in limits.iter().enumerate() {
        if !PATTERNS[limit.pattern].1(method, sent.path) {
            continue;
        }
        let cost = COSTS[limit.cost].1(method, sent.path);
        let key = KEYS[limit.key].1(sent);
        match key {
            _ if cost == 0 => replacing.push(index),
            None if limit.skips || limit.is_shadow => {}
            None => return Meaning::Unauthorized,
            Some(key) => {
                replacing.push(index);
                applying.push((index, key, cost));
            }
        }
    }
    let is_replaced = |index: usize| {
        replacing
            .iter()
            .any(|by| limits[*by].replaces && *by == index + 1)
    };
    let is_default_replaced = replacing.contains(&0) && limits[0].replaces;
    let default = default.filter(|_| !is_default_replaced).map(|quota| Part {
        limit: "default".to_owned(),
        key: sent.peer.to_owned(),
        rate: rate(quota),
        cost: 1,
        is_shadow: false,
    });
    let mut parts: Vec<_> = default.into_iter().collect();
    for (index, key, cost) in applying {
        let limit = &limits[index];
        if !limit.is_shadow && is_replaced(index) {
            continue;
        }
        parts.extend(limit.quotas.iter().enumerate().map(|(number, quota)| Part {
            limit: format!("l{index}-{number}"),
            key: key.clone(),
            rate: rate(*quota),
            cost,
            is_shadow: limit.is_shadow,
        }));
    }
    Meaning::Limited(parts)
}

/// Returns a request, without its address.
fn request(sent: &Sent) -> hyper::http::request::Builder {
    let request = Request::builder()
        .method(&METHODS[sent.method])
        .uri(sent.path);
    let cookie = sent.cookie.map(|value| format!("s={value}"));
    [("x-a", sent.a), ("cookie", cookie.as_deref())]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
}

/// Sends the requests in turn to servers that share the limits and a clock.
fn assert_decided_like_the_reference(
    runtime: &Runtime,
    servers: &[TestServer],
    policy: &Policy,
    requests: &[Sent],
) -> TestCaseResult {
    let (mut reference, mut millis) = (Reference::default(), 0);
    for (sent, server) in requests.iter().zip(servers.iter().cycle()) {
        millis += sent.millis;
        server.advance(sent.millis as f64 / 1000.0);
        let peer = (sent.peer.parse::<IpAddr>().unwrap(), 4711).into();
        let response = runtime.block_on(respond(&server.app, peer, request(sent), ""));
        let (status, now) = (response.status.as_u16(), Duration::from_millis(millis));
        let is_limited = response.header("x-ratelimit-limit").is_some();
        let is_right = match meaning(policy, sent) {
            Meaning::Unauthorized => status == 401,
            Meaning::Limited(parts) if parts.iter().any(|part| !part.is_shadow) => {
                let decided = reference.decide(&parts, now, status != 429);
                is_limited
                    && match decided.outcome {
                        Outcome::Allowed => !matches!(status, 401 | 429),
                        Outcome::Refused => status == 429,
                        Outcome::Either => status != 401,
                    }
            }
            Meaning::Limited(_) => !is_limited,
        };
        prop_assert!(is_right, "{sent:?}: {response:?}");
        prop_assert!(response.header("x-ratelimit-without-redis").is_none());
    }
    Ok(())
}

fn policy(default: impl Strategy<Value = Option<usize>>) -> impl Strategy<Value = Policy> {
    let count = |Policy { default, limits }: &Policy| {
        let quotas = limits.iter().map(|limit| limit.quotas.len());
        usize::from(default.is_some()) + quotas.sum::<usize>()
    };
    let limits = prop::collection::vec(limit(), 1..5);
    let policy = (default, limits).prop_map(|(default, limits)| Policy { default, limits });
    policy.prop_filter("as many as may apply", move |policy| {
        count(policy) <= tollgate::MAX_LIMITS
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// *Caught:* a default limit that applies beside the limit in its place.
    #[test]
    fn the_server_decides_like_the_reference(
        policy in policy(prop::option::of(0..QUOTAS.len())),
        requests in prop::collection::vec(sent(), 1..60),
    ) {
        let server = TestServer::new(&settings(&policy));
        assert_decided_like_the_reference(&runtime(), &[server], &policy, &requests)?;
    }
}

/// *Caught:* tokens that are taken although a later limit refuses; buckets that each instance has alone.
#[test]
fn instances_decide_in_redis_like_the_reference() {
    let redis = RedisServer::start();
    let (mut runner, prefixes) = (
        TestRunner::new(ProptestConfig::with_cases(60)),
        AtomicUsize::new(0),
    );
    // The default limit of a test server is in memory.
    let cases = (policy(Just(None)), prop::collection::vec(sent(), 1..60));
    let decided = runner.run(&cases, |(policy, requests)| {
        let prefix = prefixes.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "redis = '{}'\nredis_prefix = 'case{prefix}'\nredis_timeout = '10s'\n{}",
            redis.url(),
            settings(&policy)
        );
        let (runtime, clock) = (runtime(), ManualClock::new());
        clock.advance(Duration::from_secs(1_000_000));
        let start = || runtime.block_on(TestServer::start(&text, clock.clone()));
        let servers = [start(), start()];
        assert_decided_like_the_reference(&runtime, &servers, &policy, &requests)
    });
    decided.unwrap_or_else(|error| panic!("{error}"));
}
