//! Servers that share their limits through a real Redis.

use test_support::redis::RedisServer;
use test_support::{Launch, SLOW, Server, eventually};

/// A server on this Redis, with these flags.
fn on(redis: &RedisServer, flags: &[&str]) -> Server {
    launch(redis, flags).start()
}

/// What waits so long for Redis that a slow machine does not look like a dead Redis.
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
fn two_servers_are_one_limit() {
    let redis = RedisServer::start();
    let servers = [on(&redis, &[]), on(&redis, &[])];
    for n in 0..10 {
        let answer = servers[n % 2].get("/");
        assert_eq!(
            (answer.status, answer.limit(), answer.remaining()),
            (200, 10, 9 - n as u64),
            "request {n}"
        );
        assert_eq!(answer.header("X-RateLimit-Without-Redis"), None);
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
            "others have buckets of their own"
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
fn who_uses_another_prefix_shares_nothing() {
    let redis = RedisServer::start();
    let (one, other) = (
        on(&redis, &["--capacity", "1"]),
        on(&redis, &["--capacity", "1", "--redis-prefix", "other"]),
    );
    assert_eq!((one.get("/").status, one.get("/").status), (200, 429));
    assert_eq!((other.get("/").status, other.get("/").status), (200, 429));
}

#[test]
fn health_says_where_the_buckets_are() {
    let redis = RedisServer::start();
    let health = |server: &Server| server.get("/health").json();
    assert_eq!(health(&on(&redis, &[]))["redis"], "up");
    assert_eq!(health(&Server::start(&[]))["backend"], "memory");
}

#[test]
fn a_change_reaches_every_server() {
    let redis = RedisServer::start();
    let servers = [on(&redis, &[]), on(&redis, &[])];
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
        "at once for the server that was told"
    );
    eventually("the other server learns it", || {
        servers[1].get("/config").json()["capacity"] == 3
    });
    assert_eq!(
        servers[1].get("/").remaining(),
        1,
        "and the new bucket is one"
    );

    let rule = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(
        servers[1].client().post("/admin/update-rule", rule).status,
        200
    );
    assert_eq!(servers[1].get("/").limit(), 50);
    eventually("the rule is known", || {
        servers[0].get("/config").json()["rules"]["127.0.0.1"]["capacity"] == 50
    });
    assert_eq!(servers[0].get("/").remaining(), 48);
    assert_eq!(servers[0].client_from("127.0.0.2").get("/").limit(), 3);

    let late = on(&redis, &["--capacity", "77"]);
    assert_eq!(
        late.get("/").remaining(),
        47,
        "who comes later catches up, whatever it was started with"
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
    eventually("the rule is gone", || servers[1].get("/").limit() == 3);
}

#[test]
fn rules_of_the_file_are_shared_and_those_of_an_administrator_stay() {
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

/// A server that soon gives up on its Redis, which is gone.
fn bereft(policy: &[&str]) -> (RedisServer, Server) {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let flags = ["--redis", &url, "--refill-rate", SLOW, "--on-redis-error"];
    let server = Launch::new().args(&flags).args(policy).start();
    redis.kill();
    eventually("the loss is noticed", || {
        server.get("/api/ping").header("X-RateLimit-Without-Redis") == Some(policy[0])
    });
    assert_eq!(server.get("/health").json()["redis"], "down");
    assert_eq!(server.get("/health").status, 200);
    (redis, server)
}

#[test]
fn without_redis_each_server_goes_on_with_its_share() {
    let (mut redis, mut server) = bereft(&["local", "--local-share", "0.5"]);
    let mut other = server.client_from("127.0.0.9");
    for n in 0..5 {
        let answer = other.get("/");
        assert_eq!(
            (answer.status, answer.limit(), answer.remaining()),
            (200, 5, 4 - n),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("X-RateLimit-Without-Redis"), Some("local"));
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
    eventually("Redis is asked again", || {
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
fn without_redis_a_server_may_allow_everything() {
    let (_redis, server) = bereft(&["open"]);
    let mut client = server.client();
    for _ in 0..30 {
        let answer = client.get("/");
        assert_eq!(
            (answer.status, answer.header("X-RateLimit-Without-Redis")),
            (200, Some("open"))
        );
    }
}

#[test]
fn without_redis_a_server_may_refuse_everything() {
    let (_redis, server) = bereft(&["closed"]);
    let refused = server.get("/");
    assert_eq!(
        (refused.status, refused.header("X-RateLimit-Without-Redis")),
        (503, Some("closed"))
    );
    assert_eq!(refused.number("Retry-After"), 1);
    assert_eq!(refused.json()["error"], "Service Unavailable");
}

#[test]
fn a_server_starts_without_its_redis_and_finds_it_later() {
    let mut redis = RedisServer::start();
    redis.kill();
    let file = "[[rules]]\nclient_id = '127.0.0.2'\ncapacity = 5\nrefill_rate = 0.001";
    let server = launch(&redis, &[]).config("one.toml", file).start();
    assert_eq!(
        server.get("/").header("X-RateLimit-Without-Redis"),
        Some("local")
    );
    redis.restart();
    eventually("Redis is found", || {
        server.get("/health").json()["redis"] == "up"
    });
    eventually("the file's rules are in force", || {
        server.client_from("127.0.0.2").get("/").limit() == 5
    });
    assert_eq!(server.get("/").header("X-RateLimit-Without-Redis"), None);
}

#[test]
fn a_password_that_is_refused_ends_the_start_and_is_not_shown() {
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
fn the_file_says_the_same_as_the_flags() {
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
