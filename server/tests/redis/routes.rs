//! Routes with limits of their own, shared through a real Redis.

use rustix::process::Signal;
use test_support::redis::RedisServer;
use test_support::reload::Reloaded;
use test_support::{Launch, Response, Server, TEST_TIMEOUT, Upstream, eventually};

fn file(capacity: u32) -> String {
    format!(
        "capacity = 10\nrefill_rate = 0.001\n[[routes]]\npath = '/reports/*'\ncapacity = {capacity}\nrefill_rate = 0.001\n\
         [[routes]]\npath = '/b:1'\ncapacity = 7\nrefill_rate = 0.001"
    )
}

fn launch(redis: &RedisServer, flags: &[&str]) -> Launch {
    Launch::new()
        .args(&["--redis", &redis.url(), "--redis-timeout", "10s"])
        .args(flags)
}

fn summary(response: &Response) -> (u16, u64, u64) {
    (response.status, response.limit(), response.remaining())
}

#[test]
fn two_servers_share_the_buckets_of_a_route() {
    let redis = RedisServer::start();
    let start = || {
        launch(&redis, &[])
            .config("tollgate.toml", &file(4))
            .start()
    };
    let servers = [start(), start()];
    for n in 0..4 {
        assert_eq!(
            summary(&servers[n % 2].get("/reports/x")),
            (404, 4, 3 - n as u64),
            "request {n}"
        );
    }
    for server in &servers {
        assert_eq!(summary(&server.get("/reports/y")), (429, 4, 0));
        assert_eq!(
            server.client_from("127.0.0.2").get("/reports").status,
            404,
            "another client"
        );
    }
    assert_eq!(
        summary(&servers[0].get("/b:1")),
        (404, 7, 6),
        "another route"
    );
    assert_eq!(
        summary(&servers[1].get("/")),
        (200, 10, 9),
        "the default limit"
    );
    let mut client = servers[0].client_from("127.0.0.3");
    (0..7).for_each(|_| assert_eq!(client.get("/b:1").status, 404));
    assert_eq!(
        summary(&client.get("/reports/../b:1")),
        (429, 7, 0),
        "the path has readings of both routes"
    );
    assert_eq!(
        summary(&servers[1].client_from("127.0.0.3").get("/reports/")),
        (404, 4, 3),
        "the other bucket was refunded"
    );
    assert_eq!(
        servers[0].get("/config").json()["routes"]["/reports/*"]["capacity"],
        4
    );
    assert_eq!(servers[0].get("/health").json()["redis"], "up");
    let names = redis.buckets();
    assert!(
        names.iter().all(|name| name.starts_with("tollgate:")),
        "{names:?}"
    );
    for part in ["tollgate:route:/reports/*:", "tollgate:route:/b%3A1:"] {
        assert!(
            names.iter().any(|name| name.starts_with(part)),
            "{part} is not in {names:?}"
        );
    }
}

#[test]
fn gateway_on_redis_forwards_only_allowed_requests() {
    let (redis, upstream) = (RedisServer::start(), Upstream::with_body("mine"));
    let file = format!(
        "upstream = '{}'\n{}\n[[routes]]\npath = '/open/*'\nexempt = true",
        upstream.url(),
        file(2)
    );
    let server = launch(&redis, &[]).config("tollgate.toml", &file).start();
    let mut client = server.client();
    assert_eq!(summary(&client.post("/reports/a", "body")), (200, 2, 1));
    assert_eq!(summary(&client.get("//reports/b")), (200, 2, 0));
    assert_eq!(summary(&client.post("/reports/c", "body")), (429, 2, 0));
    assert_eq!(summary(&client.get("/open/../reports/d")), (429, 2, 0));
    assert_eq!(upstream.requests().len(), 2);
    let open = client.post("/open/x", "body");
    assert_eq!(
        (open.text().as_str(), open.header("X-RateLimit-Limit")),
        ("mine", None)
    );
    assert_eq!(upstream.requests()[2].body, b"body");
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn changed_quota_reaches_other_servers_and_unchanged_one_keeps_its_buckets() {
    let redis = RedisServer::start();
    let url = redis.url();
    let flags = ["--redis", &url, "--redis-timeout", "10s"];
    let one = Reloaded::start(&file(4), &flags);
    let other = Reloaded::start(&file(4), &flags);
    assert_eq!(
        [
            summary(&one.server.get("/reports/")),
            summary(&other.server.get("/b:1"))
        ],
        [(404, 4, 3), (404, 7, 6)]
    );
    one.reload(&file(5));
    assert_eq!(
        summary(&one.server.get("/reports/")),
        (404, 5, 4),
        "the new bucket is full"
    );
    assert_eq!(
        summary(&one.server.get("/b:1")),
        (404, 7, 5),
        "the bucket is kept"
    );
    eventually("the other server applies the update", || {
        other.server.get("/config").json()["routes"]["/reports/*"]["capacity"] == 5
    });
    assert_eq!(summary(&other.server.get("/reports/")), (404, 5, 3));
    other.reload(&file(5));
    assert_eq!(
        summary(&other.server.get("/reports/")),
        (404, 5, 2),
        "the file equals the effective configuration"
    );
}

#[test]
fn fallback_policy_applies_to_routes() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let flags = ["--redis", &url, "--local-share", "0.5"];
    let mut server = Launch::new()
        .args(&flags)
        .config("tollgate.toml", &file(4))
        .start();
    redis.kill();
    let local = |server: &Server, path: &str| {
        let response = server.get(path);
        (response.header("X-RateLimit-Without-Redis") == Some("local")).then(|| response.limit())
    };
    eventually("the outage is detected", || {
        local(&server, "/reports/") == Some(2)
    });
    assert_eq!(
        server.get("/health").json()["redis"],
        "down",
        "although the default limiter was not used"
    );
    eventually("the default limiter detects the outage as well", || {
        local(&server, "/") == Some(5)
    });
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("tollgate_redis_up{route=\"/reports/*\"} 0")
    );
    redis.restart();
    eventually("Redis is used again", || {
        server.get("/health").json()["redis"] == "up"
    });
    assert_eq!(local(&server, "/reports/"), None);
    server.assert_healthy();
}

#[test]
fn leased_tokens_of_a_route_are_returned_at_shutdown() {
    let redis = RedisServer::start();
    let flags = ["--redis-mode", "lease", "--lease-fraction", "1.0"];
    let start = || {
        launch(&redis, &flags)
            .config("tollgate.toml", &file(1000))
            .start()
    };
    let (mut one, other) = (start(), start());
    let mut client = one.client();
    // Enough requests that tokens are leased in batches.
    let requests = 100;
    (0..requests).for_each(|_| assert_eq!(client.get("/reports/x").status, 404));
    assert!(one.get("/metrics").text().lines().any(|line| {
        line.strip_prefix("tollgate_redis_lease_decisions_total{route=\"/reports/*\"} ")
            .is_some_and(|count| count != "0")
    }));
    one.signal(Signal::TERM);
    assert!(
        one.exit_within(TEST_TIMEOUT)
            .is_some_and(|status| status.success())
    );
    assert_eq!(
        other.get("/reports/x").remaining(),
        1000 - requests - 1,
        "no token is lost"
    );
}
