//! Bans of limits in Redis, which all instances share.

use std::{thread, time::Duration};

use test_support::{Launch, Response, Server, redis::RedisServer};

/// The third refusal of a key within an hour bans it for two. A POST needs three tokens.
const LOGIN: &str = "headers = 'both'\n[[limits]]\nname = 'login'\nkey = 'header:X-API-Key'\n\
    quota = '4/year'\ncost = { 'POST *' = 3, '*' = 1 }\n\
    ban = { after = 2, within = '1h', for = '2h' }\nrefusal = { text = '{limit}' }\n";

fn start(redis: &RedisServer, text: &str, flags: &[&str]) -> Server {
    Launch::new()
        .args(&["--redis", &redis.url(), "--redis-timeout", "10s"])
        .args(flags)
        .config("tollgate.toml", text)
        .start()
}

fn send(server: &Server, method: &str, key: &str) -> Response {
    let headers = [("X-API-Key", key)];
    server.client().request(method, "/", &headers, "")
}

fn summary(response: &Response) -> (u16, String) {
    (response.status, response.text())
}

/// *Caught:* bans that each instance has alone; a ban that is not looked for.
#[test]
fn a_key_is_banned_by_all_instances() {
    for flags in [&[][..], &["--redis-mode", "lease"]] {
        let redis = RedisServer::start();
        let servers = [start(&redis, LOGIN, flags), start(&redis, LOGIN, flags)];
        let get = |server: usize, key| send(&servers[server], "GET", key);
        assert_eq!([get(0, "bad").status, get(1, "bad").status], [200, 200]);
        let refused = || (429, "login".to_owned());
        let banned = || (429, "login-ban".to_owned());
        for server in [0, 1] {
            assert_eq!(summary(&send(&servers[server], "POST", "bad")), refused());
        }
        let begun = send(&servers[0], "POST", "bad");
        assert_eq!(summary(&begun), banned(), "{flags:?}");
        assert!((7100..=7200).contains(&begun.number("Retry-After")));
        assert_eq!(
            begun.header("ratelimit-policy").unwrap(),
            r#""login-ban";q=1;w=7200"#
        );
        for server in [0, 1] {
            // The limit would allow it.
            assert_eq!(summary(&get(server, "bad")), banned());
            assert_eq!(get(server, "good").status, 200, "another key");
            let metric = "tollgate_limit_decisions_total{limit=\"login\",mode=\"enforced\",decision=\"refused\",reason=\"banned\"}";
            assert_eq!(servers[server].metric(metric), 1);
        }
    }
}

/// *Caught:* a look that is a call of its own.
#[test]
fn the_look_for_a_ban_is_no_call() {
    let redis = RedisServer::start();
    let server = start(&redis, LOGIN, &[]);
    let calls = |method, key| {
        let before = redis.calls("evalsha");
        let status = send(&server, method, key).status;
        (status, redis.calls("evalsha") - before)
    };
    for key in ["good", "bad"] {
        assert_eq!(calls("GET", key).0, 200);
        assert_eq!(calls("GET", key), (200, 1));
    }
    assert_eq!(calls("POST", "bad").0, 429);
    assert_eq!(calls("POST", "bad").0, 429);
    // Past the memory of a refusal.
    thread::sleep(Duration::from_millis(150));
    assert_eq!(calls("POST", "bad").0, 429);
    thread::sleep(Duration::from_millis(150));
    assert_eq!(calls("GET", "bad"), (429, 1), "banned");
    assert_eq!(calls("GET", "bad"), (429, 0), "remembered");
    assert_eq!(calls("GET", "good"), (200, 1));
}

/// *Caught:* a banned key that waits.
#[test]
fn a_banned_key_does_not_wait() {
    let redis = RedisServer::start();
    let text = format!("{LOGIN}[[limits]]\nname = 'smooth'\nquota = '9/s'\ndelay = '30s'\n");
    let server = start(&redis, &text, &[]);
    assert_ne!(send(&server, "POST", "bad").status, 429);
    for expected in ["login", "login", "login-ban"] {
        assert_eq!(send(&server, "POST", "bad").text(), expected);
    }
    for _ in 0..2 {
        assert_eq!(send(&server, "GET", "bad").text(), "login-ban");
    }
    assert_eq!(server.metric("tollgate_delayed_requests_total "), 0);
}

#[test]
fn without_redis_a_ban_is_no_reason() {
    let redis = RedisServer::start();
    let server = start(&redis, LOGIN, &["--on-redis-error", "closed"]);
    assert_eq!(send(&server, "GET", "key").status, 200);
    drop(redis);
    assert_eq!(send(&server, "GET", "key").status, 503);
    let local = RedisServer::start();
    let server = start(&local, LOGIN, &[]);
    assert_eq!(send(&server, "GET", "key").status, 200);
    drop(local);
    let texts = [(); 4].map(|()| send(&server, "POST", "key").text());
    assert_eq!(
        texts[1..],
        ["login", "login", "login-ban"],
        "of this instance"
    );
}
