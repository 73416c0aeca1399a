//! A server that crashes, hangs, restarts, loses data, fills up, becomes a replica or changes its
//! password: no request waits longer than the timeout, later requests do not wait, every decision
//! has its source, and the limiter recovers without intervention.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{
    DecisionSource, Outcome, Quota, RedisError, RedisFallback, RedisLimiter, RedisLimiterBuilder,
};

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(100);

/// Longer than the default: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(1);

fn builder(server: &RedisServer) -> RedisLimiterBuilder {
    RedisLimiter::builder(&server.url(), QUOTA).timeout(TIMEOUT)
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}

async fn eventually_from(limiter: &RedisLimiter, expected: DecisionSource) {
    eventually("the expected source decides", async || {
        source(limiter).await == expected
    })
    .await;
}

/// Asserts the guarantee during an outage: at most one request waits for Redis.
async fn falls_back(limiter: &RedisLimiter) {
    let before = limiter.stats();
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(source(limiter).await, DecisionSource::Local);
    }
    // A thousand timeouts would take 1000 s.
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
async fn killed_server_is_an_outage_until_it_restarts() {
    let mut server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    limiter.set_rule("vip", Quota::per_day(7)).await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.kill();
    falls_back(&limiter).await;
    let vip = limiter.try_acquire("vip", 1).await;
    assert_eq!(
        (vip.source(), vip.limit(), vip.remaining()),
        (DecisionSource::Local, 7, 6)
    );

    server.restart();
    eventually_from(&limiter, DecisionSource::Redis).await;
    assert_eq!(limiter.stats().outages, 1);
    // The server restarted without data, and the limiter restored the settings.
    assert_eq!(limiter.try_acquire("vip", 0).await.limit(), 7);
    let another = builder(&server).connect().await.unwrap();
    assert_eq!(another.rule("vip"), Some(Quota::per_day(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_server_costs_each_waiting_request_one_timeout() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.signal(Signal::STOP);
    let began = Instant::now();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { source(&limiter).await })
        })
        .collect();
    for source in requests {
        assert_eq!(source.await.unwrap(), DecisionSource::Local);
    }
    assert!(began.elapsed() < TEST_TIMEOUT / 3, "{:?}", began.elapsed());
    falls_back(&limiter).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    falls_back(&limiter).await;
    server.signal(Signal::CONT);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    let decision = limiter.try_acquire("key", 60).await;
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert!(limiter.try_acquire("key", 50).await.is_refused());
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert!(limiter.refund("key", decision).await.unwrap());
    assert_eq!(limiter.available("key").await, 100);
    assert_eq!((limiter.stats().failures, limiter.stats().fallback), (0, 0));
}

#[tokio::test]
async fn refund_after_data_loss_gives_nothing_back() {
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
    assert!(!limiter.refund("key", before).await.unwrap());
    assert_eq!(limiter.available("key").await, 90);
    let restored =
        || async { server.command::<bool>(&["HEXISTS", "tollgate:settings", "rule:vip"]) };
    eventually("the settings are restored", restored).await;
}

#[tokio::test]
async fn server_out_of_memory_is_an_outage() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    falls_back(&limiter).await;
    // Reads succeed: the probe must detect that writes fail.
    tokio::time::sleep(Duration::from_secs(2)).await;
    falls_back(&limiter).await;
    assert_eq!(limiter.stats().outages, 1);
    assert!(matches!(
        limiter.replace(Quota::per_day(5)).await,
        Err(RedisError::OutOfMemory(_))
    ));
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn server_turned_replica_is_an_outage() {
    let (server, primary) = (RedisServer::start(), RedisServer::start());
    let limiter = builder(&server).connect().await.unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    falls_back(&limiter).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    falls_back(&limiter).await;
    assert_eq!(limiter.stats().outages, 1);
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn changed_password_is_an_outage_and_wrong_password_an_error() {
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
    falls_back(&limiter).await;
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "right"])
        .exec(&mut admin)
        .unwrap();
    eventually_from(&limiter, DecisionSource::Redis).await;
}

#[tokio::test]
async fn open_and_closed_fallbacks_allow_or_refuse_everything() {
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
    assert!(!open.refund("key", decision).await.unwrap());
    let decision = closed.try_acquire("key", 1).await;
    assert_eq!(
        (decision.source(), decision.outcome()),
        (DecisionSource::Closed, Outcome::Unavailable)
    );
    assert_eq!(
        (decision.retry_after(), decision.to_string().as_str()),
        (None, "refused: cost 1, Redis unavailable")
    );
    let decision = share.try_acquire("key", 5).await;
    assert_eq!(
        (decision.source(), decision.limit(), decision.remaining()),
        (DecisionSource::Local, 25, 20)
    );
    assert!(share.refund("key", decision).await.unwrap());
    assert_eq!(share.available("key").await, 25);
}

#[tokio::test]
async fn limiter_starts_without_a_server_and_connects_later() {
    let mut server = RedisServer::start();
    server.kill();
    let limiter = builder(&server).connect().await.unwrap();
    falls_back(&limiter).await;
    assert!(matches!(
        limiter.replace(QUOTA).await,
        Err(RedisError::Unreachable(_))
    ));
    server.restart();
    eventually_from(&limiter, DecisionSource::Redis).await;
    assert_eq!(limiter.stats().outages, 0);
}
