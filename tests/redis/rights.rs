//! Permissions of the server's user: without them a limiter does not start, and a change that is
//! not permitted changes nothing.

use std::{collections::BTreeMap, time::Duration};

use test_support::redis::RedisServer;
use tollgate::{Quota, RedisError, RedisLimiter};

const QUOTA: Quota = Quota::per_day(10);

/// Permissions that [`RedisLimiter`] documents.
const COMMANDS: &str =
    "eval evalsha time type get set setrange del persist hget hset hdel hgetall publish subscribe";

fn set_user(server: &RedisServer, changes: &[&str]) {
    server.command::<()>(&[&["ACL", "SETUSER", "limiter"], changes].concat());
}

/// Starts a server with a user that has all permissions.
fn server_with_user() -> RedisServer {
    let server = RedisServer::start();
    let mut rights = vec!["on", ">password", "~tollgate:*", "&tollgate:*"];
    let commands: Vec<_> = COMMANDS.split(' ').map(|name| format!("+{name}")).collect();
    rights.extend(commands.iter().map(String::as_str));
    set_user(&server, &rights);
    server
}

async fn connect(server: &RedisServer, database: u32) -> Result<RedisLimiter, RedisError> {
    let url = format!(
        "redis://limiter:password@127.0.0.1:{}/{database}",
        server.port
    );
    let builder = RedisLimiter::builder(&url, QUOTA).timeout(Duration::from_secs(10));
    builder.connect().await
}

#[tokio::test]
async fn missing_permission_ends_the_start() {
    let server = server_with_user();
    for command in COMMANDS.split(' ').filter(|name| *name != "subscribe") {
        set_user(&server, &[&format!("-{command}")]);
        let denied = connect(&server, 0).await;
        assert!(
            matches!(denied, Err(RedisError::Denied(_))),
            "{command}: {denied:?}"
        );
        set_user(&server, &[&format!("+{command}")]);
    }
    for (without, with) in [
        ("resetchannels", "&tollgate:*"),
        ("resetkeys", "~tollgate:*"),
    ] {
        set_user(&server, &[without]);
        let denied = connect(&server, 0).await;
        assert!(
            matches!(denied, Err(RedisError::Denied(_))),
            "{without}: {denied:?}"
        );
        set_user(&server, &[with]);
    }
    let keys: Vec<String> = server.command(&["KEYS", "*"]);
    assert_eq!(keys, [""; 0], "a denied limiter leaves nothing behind");
    let limiter = connect(&server, 0).await.unwrap();
    assert!(limiter.stats().up);
    let keys: Vec<String> = server.command(&["KEYS", "*"]);
    assert_eq!(keys, ["tollgate:settings"]);
}

#[tokio::test]
async fn missing_database_ends_the_start() {
    let server = server_with_user();
    set_user(&server, &["+select"]);
    let missing = connect(&server, 99).await;
    assert!(
        matches!(missing, Err(RedisError::NoDatabase(_))),
        "{missing:?}"
    );
    set_user(&server, &["-select"]);
    let denied = connect(&server, 3).await;
    assert!(matches!(denied, Err(RedisError::Denied(_))), "{denied:?}");
    set_user(&server, &["+select"]);
    assert!(connect(&server, 3).await.is_ok());
}

#[tokio::test]
async fn change_without_a_permission_changes_nothing() {
    let server = server_with_user();
    let limiter = connect(&server, 0).await.unwrap();
    limiter.set_rule("vip", Quota::per_day(50)).await.unwrap();
    assert!(limiter.try_acquire("alice", 4).await.is_allowed());
    let settings = || -> BTreeMap<String, String> {
        let fields: Vec<String> = server.command(&["HGETALL", "tollgate:settings"]);
        let pairs = fields.chunks(2);
        pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    };
    let before = settings();
    for (without, with) in [
        ("resetchannels", "&tollgate:*"),
        ("-publish", "+publish"),
        ("-hset", "+hset"),
        ("-time", "+time"),
    ] {
        set_user(&server, &[without]);
        for changed in [
            limiter.replace(Quota::per_day(5)).await,
            limiter.set_rule("alice", Quota::per_day(5)).await,
            limiter.remove_rule("vip").await.map(drop),
        ] {
            assert!(
                matches!(changed, Err(RedisError::Denied(_))),
                "{without}: {changed:?}"
            );
        }
        set_user(&server, &[with]);
        assert_eq!(settings(), before, "{without}");
    }
    set_user(&server, &["-hdel"]);
    let kept = limiter.remove_rule("vip").await;
    assert!(matches!(kept, Err(RedisError::Denied(_))), "{kept:?}");
    set_user(&server, &["+hdel"]);
    assert_eq!(settings(), before);
    assert_eq!(limiter.available("alice").await, 6, "no bucket was reset");
}
