//! `[[limits]]` shared through a real Redis, by servers that name them in either order.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use test_support::{Client, Launch, Server, redis::RedisServer};

const GLOBAL: &str = "[[limits]]\nname = 'all'\nkey = 'global'\nquota = '120/year'\n";
const KEY: &str =
    "[[limits]]\nname = 'key'\nkey = 'header:X-API-Key'\nquota = ['50/year', '80/year']\n";

fn start(redis: &RedisServer, limits: &str, flags: &[&str]) -> Server {
    Launch::new()
        .args(&["--redis", &redis.url(), "--redis-timeout", "10s"])
        .args(flags)
        .config("tollgate.toml", &format!("headers = 'both'\n{limits}"))
        .start()
}

/// Sends `count` requests of each of three keys to every server, from two connections each. Returns
/// the number of allowed ones of each key.
fn hammer(servers: &[Server], count: usize) -> [usize; 3] {
    let allowed = [const { AtomicUsize::new(0) }; 3];
    let send = |client: &mut Client, key: usize| {
        let name = format!("key-{key}");
        match client.get_with("/", &[("X-API-Key", &name)]).status {
            200 => _ = allowed[key].fetch_add(1, Ordering::Relaxed),
            429 => {}
            other => panic!("{other}"),
        }
    };
    let send = &send;
    thread::scope(|scope| {
        for n in 0..2 * servers.len() {
            let mut client = servers[n % servers.len()].client();
            scope.spawn(move || {
                for round in 0..3 * count {
                    send(&mut client, (round + n) % 3);
                }
            });
        }
    });
    allowed.map(AtomicUsize::into_inner)
}

#[test]
fn servers_share_all_limits_exactly() {
    let redis = RedisServer::start();
    let servers = [
        start(&redis, &format!("{GLOBAL}{KEY}"), &[]),
        start(&redis, &format!("{KEY}{GLOBAL}"), &[]),
    ];
    // 120 for all, at most 50 of each key: no token is lost to a refused request.
    let allowed = hammer(&servers, 30);
    assert_eq!(allowed.iter().sum::<usize>(), 120, "{allowed:?}");
    assert!(allowed.iter().all(|allowed| *allowed <= 50), "{allowed:?}");

    let mut client = servers[0].client();
    // A refusal is remembered for 100 ms, without a call.
    thread::sleep(Duration::from_millis(150));
    let before = redis.calls("evalsha");
    let refused = client.get_with("/", &[("X-API-Key", "another")]);
    assert_eq!(
        redis.calls("evalsha"),
        before + 1,
        "one call for three quotas"
    );
    assert_eq!(refused.status, 429);
    let fields = refused.header("ratelimit").unwrap();
    assert!(
        fields.contains("\"all\";r=0;") && fields.contains("\"key\";r=50;"),
        "{fields}"
    );
}

/// *Caught:* hash tags in the names of all limits, and of none.
#[test]
fn quotas_of_a_list_share_a_slot_and_names_of_a_single_one_stay() {
    let redis = RedisServer::start();
    let ban = "[[limits]]\nname = 'login'\nkey = 'global'\nquota = '1/year'\n\
        ban = { after = 1, within = '1h', for = '1h' }\n";
    let server = start(&redis, &format!("{GLOBAL}{KEY}{ban}"), &[]);
    for _ in 0..3 {
        server.client().get_with("/", &[("X-API-Key", "alice")]);
    }
    let names = redis.buckets();
    let parts_of = |name| {
        let parts: Vec<_> = str::splitn(name, 5, ':').collect();
        // Without the prefix of all, and the version of the settings.
        (parts[1], parts[2], parts[4])
    };
    let mut names: Vec<_> = names.iter().map(|name| parts_of(name)).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            ("ban", "login-ban", "{global}"),
            ("limit", "all", "global"),
            ("limit", "key", "{alice}"),
            ("limit", "key-2", "{alice}"),
            ("limit", "login", "{global}"),
            ("refusals", "login-ban", "{global}"),
        ]
    );
}

/// *Caught:* full buckets after a PUT of the quota in force.
#[test]
fn only_a_changed_quota_fills_the_buckets_with_redis_as_in_memory() {
    let limits = "quota = '90/year'\n\
        [[limits]]\nname = 'q'\nquota = ['5/year', '50/year']\nmatch = '/q'\n";
    // Tokens left of both quotas, and of the default one.
    let left = |server: &Server| {
        let response = server.get("/q");
        let field = response.header("ratelimit").unwrap();
        ["q", "q-2", "default"].map(|name| {
            let start = format!("\"{name}\";r=");
            let (_, rest) = field.split_once(&start).unwrap();
            rest.split(';').next().unwrap().parse::<u32>().unwrap()
        })
    };
    let put = |server: &Server, name: &str, quota: &str| {
        let (path, body) = (
            format!("/admin/limits/{name}"),
            format!(r#"{{"quota": "{quota}"}}"#),
        );
        let put = server.client().request("PUT", &path, &[], &body);
        assert_eq!(put.status, 200, "{}", put.text());
    };
    let scenario = |first: &Server, other: &Server| {
        assert_eq!(left(first), [4, 49, 89]);
        for (name, quota) in [("q", "5/year"), ("q-2", "50/year"), ("default", "90/year")] {
            put(other, name, quota);
        }
        assert_eq!(left(first), [3, 48, 88]);
        put(first, "q", "8/year");
        assert_eq!(left(first), [7, 47, 87]);
        // The other instance may not know of the change yet.
        put(other, "q", "8/year");
        assert_eq!(left(first), [6, 46, 86]);
        put(other, "default", "20/year");
        assert_eq!(left(other), [5, 45, 19]);
        put(first, "default", "20/year");
        assert_eq!(left(other), [4, 44, 18]);
    };
    let redis = RedisServer::start();
    let [first, other] = [(); 2].map(|()| start(&redis, limits, &[]));
    scenario(&first, &other);
    let file = format!("headers = 'both'\n{limits}");
    let memory = Launch::new().config("tollgate.toml", &file).start();
    scenario(&memory, &memory);
}

#[test]
fn leases_exceed_no_limit() {
    let redis = RedisServer::start();
    let lease = ["--redis-mode", "lease", "--lease-fraction", "0.1"];
    let servers = [
        start(&redis, &format!("{GLOBAL}{KEY}"), &lease),
        start(&redis, &format!("{KEY}{GLOBAL}"), &lease),
    ];
    let allowed = hammer(&servers, 30);
    assert!(allowed.iter().sum::<usize>() <= 120, "{allowed:?}");
    assert!(allowed.iter().sum::<usize>() >= 80, "{allowed:?}");
    assert!(allowed.iter().all(|allowed| *allowed <= 50), "{allowed:?}");
}

#[test]
fn shadow_limits_take_after_the_enforced_ones() {
    let redis = RedisServer::start();
    let text = "[[limits]]\nname = 'real'\nquota = '3/year'\n[[limits]]\nname = 'next'\nquota = '2/year'\nshadow = true\n";
    let servers = [start(&redis, text, &[]), start(&redis, text, &[])];
    let statuses = [0, 1, 0, 1].map(|server: usize| servers[server].get("/").status);
    assert_eq!(statuses, [200, 200, 200, 429]);
    let metrics = servers[0].get("/metrics");
    let line = r#"tollgate_limit_decisions_total{limit="next",mode="shadow",decision="refused",reason="no_tokens"} 1"#;
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

/// *Caught:* a part of the first limit alone.
#[test]
fn a_check_without_redis_has_one_part_for_each_limit() {
    let redis = RedisServer::start();
    let limits = [("a", 3), ("b", 5)].map(|(name, tokens)| {
        format!("[[limits]]\nname = '{name}'\nkey = 'header:X-Key'\nquota = '{tokens}/year'\n")
    });
    let server = start(&redis, &limits.concat(), &["--on-redis-error", "closed"]);
    let check = || {
        let item = r#"{"key": "k", "limits": ["a", "b"]}"#;
        server.client().post("/check", item).json()
    };
    assert_eq!(check()["limits"].as_array().map(Vec::len), Some(2));
    drop(redis);
    // The first one finds out that Redis is down.
    for _ in 0..2 {
        let refused = check();
        let parts = refused["limits"].as_array().unwrap();
        let parts: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part["name"].clone(),
                    part["allowed"].clone(),
                    part["limit"].clone(),
                )
            })
            .collect();
        let part = |name: &str, limit: u32| (name.into(), false.into(), limit.into());
        assert_eq!(parts, [part("a", 3), part("b", 5)], "{refused}");
    }
}
