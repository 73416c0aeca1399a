//! A server that dies, hangs, restarts, forgets, fills up, becomes a replica or changes its
//! password: nobody waits for longer than the timeout, one after the other waits not at all, every
//! answer says who gave it, and all is well again by itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{
    DecisionSource, Outcome, Quota, RedisError, RedisFallback, RedisLimiter, RedisLimiterBuilder,
};

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(100);

/// Longer than the usual one, since the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(1);

fn builder(server: &RedisServer) -> RedisLimiterBuilder {
    RedisLimiter::builder(&server.url(), QUOTA).timeout(TIMEOUT)
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}

async fn eventually_from(limiter: &RedisLimiter, expected: DecisionSource) {
    eventually("answers from there", async || {
        source(limiter).await == expected
    })
    .await;
}

/// What is promised while Redis is ill: one request may wait for it, and then nobody does.
async fn goes_on_alone(limiter: &RedisLimiter) {
    let before = limiter.stats();
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(source(limiter).await, DecisionSource::Local);
    }
    // Waiting a thousand times would take 1000 s.
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());
    let after = limiter.stats();
    assert!(!after.up);
    assert!(
        after.failures <= before.failures + 1,
        "{before:?} {after:?}"
    );
    assert_eq!(after.fallback, before.fallback + 1000);
}

#[tokio::test]
async fn a_killed_server_is_done_without_until_it_is_back() {
    let mut server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    limiter.set_rule("vip", Quota::per_day(7)).await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.kill();
    goes_on_alone(&limiter).await;
    let vip = limiter.try_acquire("vip", 1).await;
    assert_eq!(
        (vip.source(), vip.limit(), vip.remaining()),
        (DecisionSource::Local, 7, 6)
    );

    server.restart();
    eventually_from(&limiter, DecisionSource::Redis).await;
    assert_eq!(limiter.stats().outages, 1);
    // It came back with nothing, and the limiter brought what it knew.
    assert_eq!(limiter.try_acquire("vip", 0).await.limit(), 7);
    let another = builder(&server).connect().await.unwrap();
    assert_eq!(another.rule("vip"), Some(Quota::per_day(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_every_waiting_request_one_timeout() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.signal(Signal::STOP);
    let began = Instant::now();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { source(&limiter).await })
        })
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap(), DecisionSource::Local);
    }
    assert!(began.elapsed() < TEST_TIMEOUT / 3, "{:?}", began.elapsed());
    goes_on_alone(&limiter).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    goes_on_alone(&limiter).await;
    server.signal(Signal::CONT);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    let decision = limiter.try_acquire("key", 60).await;
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert!(limiter.try_acquire("key", 50).await.is_refused());
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert!(limiter.refund("key", decision).await);
    assert_eq!(limiter.available("key").await, 100);
    assert_eq!((limiter.stats().failures, limiter.stats().fallback), (0, 0));
}

#[tokio::test]
async fn data_that_the_server_lost_mints_nothing_by_a_refund() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    limiter.set_rule("vip", Quota::per_day(7)).await.unwrap();
    let before = limiter.try_acquire("key", 60).await;
    server.command::<()>(&["FLUSHALL"]);
    let after = limiter.try_acquire("key", 10).await;
    assert_eq!(
        (after.source(), after.remaining()),
        (DecisionSource::Redis, 90)
    );
    assert!(!limiter.refund("key", before).await);
    assert_eq!(limiter.available("key").await, 90);
    let restored =
        || async { server.command::<bool>(&["HEXISTS", "tollgate:settings", "rule:vip"]) };
    eventually("the settings are there again", restored).await;
}

#[tokio::test]
async fn a_server_without_memory_is_done_without() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    goes_on_alone(&limiter).await;
    // Reading works; the probe must find out that writing does not.
    tokio::time::sleep(Duration::from_secs(2)).await;
    goes_on_alone(&limiter).await;
    assert_eq!(limiter.stats().outages, 1);
    assert!(matches!(
        limiter.replace(Quota::per_day(5)).await,
        Err(RedisError::OutOfMemory(_))
    ));
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_done_without() {
    let (server, primary) = (RedisServer::start(), RedisServer::start());
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    goes_on_alone(&limiter).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    goes_on_alone(&limiter).await;
    assert_eq!(limiter.stats().outages, 1);
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn a_changed_password_is_an_outage_and_a_wrong_one_an_error() {
    let server = RedisServer::with(&["--requirepass", "right"]);
    let wrong =
        RedisLimiter::connect(&format!("redis://:wrong@127.0.0.1:{}/", server.port), QUOTA).await;
    assert!(matches!(wrong, Err(RedisError::Denied(_))), "{wrong:?}");
    let none = RedisLimiter::connect(&server.url(), QUOTA).await;
    assert!(matches!(none, Err(RedisError::Denied(_))), "{none:?}");

    let url = format!("redis://default:right@127.0.0.1:{}/3", server.port);
    let limiter = RedisLimiter::builder(&url, QUOTA)
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    assert!(!format!("{limiter:?} {:?}", RedisLimiter::builder(&url, QUOTA)).contains("right"));
    let admin = redis::Client::open(url.as_str()).unwrap();
    let mut admin = admin.get_connection().unwrap();
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "other"])
        .exec(&mut admin)
        .unwrap();
    redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut admin)
        .unwrap();
    goes_on_alone(&limiter).await;
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "right"])
        .exec(&mut admin)
        .unwrap();
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn other_policies_allow_or_refuse_everything() {
    let mut server = RedisServer::start();
    let open = builder(&server)
        .on_error(RedisFallback::Open)
        .connect()
        .await
        .unwrap();
    let closed = builder(&server)
        .on_error(RedisFallback::Closed)
        .connect()
        .await
        .unwrap();
    let share = builder(&server)
        .on_error(RedisFallback::Local { share: 0.25 })
        .connect()
        .await
        .unwrap();
    server.kill();
    let decision = open.try_acquire("key", 1000).await;
    assert_eq!(
        (decision.source(), decision.outcome()),
        (DecisionSource::Open, Outcome::Allowed)
    );
    assert!(!open.refund("key", decision).await);
    let decision = closed.try_acquire("key", 1).await;
    assert_eq!(
        (decision.source(), decision.outcome()),
        (DecisionSource::Closed, Outcome::Unavailable)
    );
    assert_eq!(
        (decision.retry_after(), decision.to_string().as_str()),
        (None, "refused: 1 asked, and Redis cannot be")
    );
    let decision = share.try_acquire("key", 5).await;
    assert_eq!(
        (decision.source(), decision.limit(), decision.remaining()),
        (DecisionSource::Local, 25, 20)
    );
    assert!(share.refund("key", decision).await);
    assert_eq!(share.available("key").await, 25);
}

#[tokio::test]
async fn a_limiter_begins_without_a_server_and_finds_it_later() {
    let mut server = RedisServer::start();
    server.kill();
    let limiter = builder(&server).connect().await.unwrap();
    goes_on_alone(&limiter).await;
    assert!(matches!(
        limiter.replace(QUOTA).await,
        Err(RedisError::Unreachable(_))
    ));
    server.restart();
    eventually_from(&limiter, DecisionSource::Redis).await;
    assert_eq!(limiter.stats().outages, 0);
}
