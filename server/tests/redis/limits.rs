//! Servers that share limits through a real Redis.

use test_support::redis::RedisServer;
use test_support::{Launch, SLOW, Server, eventually};

/// Starts a server with this Redis and these flags.
fn start_with(redis: &RedisServer, flags: &[&str]) -> Server {
    launch(redis, flags).start()
}

/// Options with a timeout long enough that a slow machine is not taken for a failed Redis.
fn launch(redis: &RedisServer, flags: &[&str]) -> Launch {
    Launch::new()
        .args(&[
            "--redis",
            &redis.url(),
            "--redis-timeout",
            "10s",
            "--refill-rate",
            SLOW,
        ])
        .args(flags)
}

#[test]
fn two_servers_share_one_limit() {
    let redis = RedisServer::start();
    let servers = [start_with(&redis, &[]), start_with(&redis, &[])];
    for n in 0..10 {
        let response = servers[n % 2].get("/");
        assert_eq!(
            (response.status, response.limit(), response.remaining()),
            (200, 10, 9 - n as u64),
            "request {n}"
        );
        assert_eq!(response.header("X-RateLimit-Without-Redis"), None);
    }
    for server in &servers {
        let refused = server.get("/");
        assert_eq!((refused.status, refused.remaining()), (429, 0));
        assert!(
            (990.0..1001.0).contains(&refused.retry_after()),
            "{}",
            refused.text()
        );
        assert_eq!(
            server.client_from("127.0.0.2").get("/").status,
            200,
            "other clients have their own buckets"
        );
    }
    assert_eq!(
        servers[0]
            .client_from("127.0.0.3")
            .post("/api/upload", "")
            .remaining(),
        7
    );
    assert_eq!(
        servers[1]
            .client_from("127.0.0.3")
            .post("/api/submit", "[1]")
            .remaining(),
        6
    );
    assert_eq!(
        servers[1].client_from("127.0.0.3").get("/nothing").status,
        404
    );
    assert_eq!(servers[0].client_from("127.0.0.3").get("/").remaining(), 4);
}

#[test]
fn requests_of_a_burst_wait_for_their_tokens() {
    for mode in ["exact", "lease"] {
        let redis = RedisServer::start();
        let server = Launch::new()
            .args(&["--redis", &redis.url(), "--redis-timeout", "10s"])
            .args(&["--redis-mode", mode, "--delay", "30s"])
            .args(&["--capacity", "1", "--refill-rate", "20"])
            .start();
        let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.read().unwrap().status, 200, "{mode}");
        }
        assert!(server.metric("tollgate_delayed_requests_total ") > 0);
    }
}

#[test]
fn servers_with_different_prefixes_share_nothing() {
    let redis = RedisServer::start();
    let (one, other) = (
        start_with(&redis, &["--capacity", "1"]),
        start_with(&redis, &["--capacity", "1", "--redis-prefix", "other"]),
    );
    assert_eq!((one.get("/").status, one.get("/").status), (200, 429));
    assert_eq!((other.get("/").status, other.get("/").status), (200, 429));
}

#[test]
fn health_reports_the_backend() {
    let redis = RedisServer::start();
    let health = |server: &Server| server.get("/health").json();
    assert_eq!(health(&start_with(&redis, &[]))["redis"], "up");
    assert_eq!(health(&Server::start(&[]))["backend"], "memory");
}

#[test]
fn update_reaches_every_server() {
    let redis = RedisServer::start();
    let servers = [start_with(&redis, &[]), start_with(&redis, &[])];
    while servers[0].get("/").status == 200 {}

    let changed = servers[0]
        .client()
        .post("/config", r#"{"capacity": 3, "refill_rate": 0.001}"#);
    assert_eq!(
        (changed.status, &changed.json()["capacity"]),
        (200, &3.into()),
        "{}",
        changed.text()
    );
    assert_eq!(
        servers[0].get("/").limit(),
        3,
        "at once on the server that received the update"
    );
    eventually("the other server applies the update", || {
        servers[1].get("/config").json()["capacity"] == 3
    });
    assert_eq!(
        servers[1].get("/").remaining(),
        1,
        "the new bucket is shared"
    );

    let rule = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(
        servers[1].client().post("/admin/update-rule", rule).status,
        200
    );
    assert_eq!(servers[1].get("/").limit(), 50);
    eventually("the rule reaches the other server", || {
        servers[0].get("/config").json()["rules"]["127.0.0.1"]["capacity"] == 50
    });
    assert_eq!(servers[0].get("/").remaining(), 48);
    for server in &servers {
        let response = server.post("/admin/update-rule", rule);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(
        servers[0].get("/").remaining(),
        47,
        "a rule in force keeps its bucket"
    );
    assert_eq!(servers[0].client_from("127.0.0.2").get("/").limit(), 3);

    let late = start_with(&redis, &["--capacity", "77"]);
    assert_eq!(
        late.get("/").remaining(),
        46,
        "a later server adopts the shared configuration"
    );

    assert_eq!(
        servers[0].client().delete("/admin/rule/127.0.0.1").status,
        200
    );
    assert_eq!(
        servers[0].client().delete("/admin/rule/127.0.0.1").status,
        404
    );
    assert_eq!(servers[0].get("/").limit(), 3);
    eventually("the rule is removed", || servers[1].get("/").limit() == 3);

    while servers[0].get("/").status == 200 {}
    let same = servers[0].post("/config", r#"{"capacity": 3}"#);
    assert_eq!(same.status, 200, "{}", same.text());
    assert_eq!(
        servers[0].get("/").remaining(),
        2,
        "an update of the default fills every bucket"
    );
}

#[test]
fn configured_rules_are_shared_and_do_not_replace_existing_ones() {
    let redis = RedisServer::start();
    let file = "[[rules]]\nclient_id = '127.0.0.1'\ncapacity = 5\nrefill_rate = 0.001";
    let first = launch(&redis, &[]).config("one.toml", file).start();
    assert_eq!(first.get("/").remaining(), 4);
    let second = launch(&redis, &[]).config("one.toml", file).start();
    assert_eq!(
        second.get("/").remaining(),
        3,
        "the second start does not fill the bucket"
    );
    let rule = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(first.client().post("/admin/update-rule", rule).status, 200);
    let third = launch(&redis, &[]).config("one.toml", file).start();
    assert_eq!(third.get("/").limit(), 50);
}

/// Starts a server and stops its Redis.
fn without_redis(policy: &[&str]) -> (RedisServer, Server) {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let flags = ["--redis", &url, "--refill-rate", SLOW, "--on-redis-error"];
    let server = Launch::new().args(&flags).args(policy).start();
    redis.kill();
    eventually("the outage is detected", || {
        server.get("/api/ping").header("X-RateLimit-Without-Redis") == Some(policy[0])
    });
    assert_eq!(server.get("/health").json()["redis"], "down");
    assert_eq!(server.get("/health").status, 200);
    (redis, server)
}

#[test]
fn local_fallback_uses_the_share_of_each_server() {
    let (mut redis, mut server) = without_redis(&["local", "--local-share", "0.5"]);
    let mut other = server.client_from("127.0.0.9");
    for n in 0..5 {
        let response = other.get("/");
        assert_eq!(
            (response.status, response.limit(), response.remaining()),
            (200, 5, 4 - n),
            "{}",
            response.text()
        );
        assert_eq!(response.header("X-RateLimit-Without-Redis"), Some("local"));
    }
    let refused = other.get("/");
    assert_eq!(
        (refused.status, refused.header("X-RateLimit-Without-Redis")),
        (429, Some("local"))
    );
    let change = server.client().post("/config", r#"{"capacity": 3}"#);
    assert_eq!(change.status, 503, "{}", change.text());
    assert!(change.text().contains("Redis"), "{}", change.text());
    assert_eq!(server.get("/config").json()["capacity"], 10);

    redis.restart();
    eventually("Redis is used again", || {
        server.get("/health").json()["redis"] == "up"
    });
    assert_eq!(other.get("/").header("X-RateLimit-Without-Redis"), None);
    let log = server.wait_for_log("Redis available again");
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        (
            lines("Redis unavailable; fallback decides"),
            lines("Redis available again")
        ),
        (1, 1),
        "{log}"
    );
    server.assert_healthy();
}

#[test]
fn open_fallback_allows_every_request() {
    let (_redis, server) = without_redis(&["open"]);
    let mut client = server.client();
    for _ in 0..30 {
        let response = client.get("/");
        assert_eq!(
            (
                response.status,
                response.header("X-RateLimit-Without-Redis")
            ),
            (200, Some("open"))
        );
    }
}

#[test]
fn closed_fallback_refuses_every_request() {
    let (_redis, server) = without_redis(&["closed"]);
    let refused = server.get("/");
    assert_eq!(
        (refused.status, refused.header("X-RateLimit-Without-Redis")),
        (503, Some("closed"))
    );
    assert_eq!(refused.number("Retry-After"), 1);
    assert_eq!(refused.json()["error"], "Service Unavailable");
}

#[test]
fn server_starts_without_redis_and_connects_later() {
    let mut redis = RedisServer::start();
    redis.kill();
    let file = "[[rules]]\nclient_id = '127.0.0.2'\ncapacity = 5\nrefill_rate = 0.001";
    let server = launch(&redis, &[]).config("one.toml", file).start();
    assert_eq!(
        server.get("/").header("X-RateLimit-Without-Redis"),
        Some("local")
    );
    redis.restart();
    eventually("Redis is connected", || {
        server.get("/health").json()["redis"] == "up"
    });
    eventually("the configured rules are applied", || {
        server.client_from("127.0.0.2").get("/").limit() == 5
    });
    assert_eq!(server.get("/").header("X-RateLimit-Without-Redis"), None);
}

#[test]
fn rejected_password_fails_the_start_and_is_not_printed() {
    let redis = RedisServer::with(&["--requirepass", "right"]);
    let url = redis.url().replace("://", "://:wrong-secret@");
    let refusal = Launch::new()
        .args(&["--redis", &url])
        .start_error()
        .unwrap();
    assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("denies access") && !refusal.stderr.contains("wrong-secret"),
        "{}",
        refusal.stderr
    );

    let url = redis.url().replace("://", "://:right@");
    let server = Launch::new()
        .env("TOLLGATE_REDIS", &url)
        .env("TOLLGATE_REDIS_TIMEOUT", "10s")
        .start();
    assert_eq!(server.get("/").header("X-RateLimit-Without-Redis"), None);
    assert!(!server.stderr().contains("right"), "{}", server.stderr());
}

#[test]
fn file_settings_equal_flags() {
    let redis = RedisServer::start();
    let file = format!(
        "redis = '{}'\nredis_mode = 'exact'\nredis_timeout = '10s'\non_redis_error = 'closed'\nredis_prefix = 'mine'",
        redis.url()
    );
    let server = Launch::new().config("redis.toml", &file).start();
    assert_eq!(server.get("/").remaining(), 9);
    assert!(
        redis.buckets().iter().all(|name| name.starts_with("mine:")),
        "{:?}",
        redis.buckets()
    );
}
