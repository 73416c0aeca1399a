//! Requests that wait for tokens of `[[limits]]` in Redis.

use test_support::{Launch, Server, redis::RedisServer};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A token in 20 s, and one limit that refuses at once.
const LONG: &str = "[[limits]]\nname = 'smooth'\nquota = '1/20s'\ndelay = '1m'\n\
    [[limits]]\nname = 'strict'\nkey = 'global'\nquota = '4/year'\n";

fn start(redis: &RedisServer, text: &str) -> Server {
    Launch::new()
        .args(&["--redis", &redis.url(), "--redis-timeout", "10s"])
        .config("tollgate.toml", text)
        .start()
}

/// Returns the beginning of the metric that counts the decisions of a limit.
fn decisions(limit: &str, decision: &str) -> String {
    format!(
        "tollgate_limit_decisions_total{{limit=\"{limit}\",mode=\"enforced\",decision=\"{decision}\""
    )
}

/// Decisions that the server has counted of a limit.
fn counted(server: &Server, limit: &str, decision: &str) -> u64 {
    server.metric(&decisions(limit, decision))
}

/// *Caught:* a request that may wait, refused at once.
#[test]
fn requests_of_a_burst_wait_on_all_instances() {
    let redis = RedisServer::start();
    let text = "[[limits]]\nname = 'smooth'\nquota = '50/s burst 1'\ndelay = '10s'\n\
        [[limits]]\nname = 'wide'\nkey = 'global'\nquota = '100/year'\n";
    let servers = [start(&redis, text), start(&redis, text)];
    let mut clients: Vec<_> = (0..12).map(|n| servers[n % 2].client()).collect();
    for client in &mut clients {
        client.send(GET).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read().unwrap().status, 200);
    }
    let sum = |limit, decision| {
        let counts = servers
            .iter()
            .map(|server| counted(server, limit, decision));
        counts.sum::<u64>()
    };
    assert_eq!((sum("smooth", "allowed"), sum("wide", "allowed")), (12, 12));
    assert_eq!((sum("smooth", "refused"), sum("wide", "refused")), (0, 0));
    assert!(servers.iter().any(|server| server.delayed() > 0));
}

/// *Caught:* limits that are all waited for.
#[test]
fn a_limit_without_a_delay_refuses_at_once() {
    let redis = RedisServer::start();
    let text = LONG.replace("4/year", "1/year");
    let server = start(&redis, &text);
    assert_eq!(server.get("/").status, 200);
    for _ in 0..2 {
        let refused = server.get("/");
        assert_eq!(refused.status, 429);
        assert!(refused.number("Retry-After") > 1000);
    }
}

/// *Caught:* places that are not given back, and places without a bound.
#[test]
fn a_client_that_disconnects_gives_its_place_up() {
    let redis = RedisServer::start();
    let mut server = start(&redis, &format!("max_delayed_per_client = 1\n{LONG}"));
    assert_eq!(server.get("/").status, 200);
    let first = server.waiting();
    let refused = server.get("/");
    assert_eq!(refused.status, 429, "the client's only place is taken");
    drop(first);
    server.assert_place_is_free(&decisions("smooth", "refused"));
    assert_eq!(counted(&server, "smooth", "allowed"), 1);
    server.assert_healthy();
}
