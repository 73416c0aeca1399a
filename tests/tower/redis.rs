//! Redis behind the layer: services share a limit, learn who decided, and go on when Redis is gone.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::support::{ask, from, statuses, with};
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use test_support::redis::{RedisServer, eventually};
use tollgate::{
    Decision, DecisionSource, Quota, RedisFallback, RedisLimiter, RedisLimiterBuilder,
    SharedDecision,
    tower::{Key, PeerAddr, RateLimitLayer},
};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(3);

fn builder(server: &RedisServer) -> RedisLimiterBuilder {
    // A busy machine is not an ill server.
    RedisLimiter::builder(&server.url(), QUOTA).timeout(Duration::from_secs(10))
}

async fn layer(builder: RedisLimiterBuilder) -> RateLimitLayer {
    RateLimitLayer::redis(builder.connect().await.unwrap(), Key::ip())
}

/// Answers with what the extensions say of the decision.
async fn tell(request: Request<Body>) -> Result<Response<String>, Infallible> {
    let shared = request
        .extensions()
        .get::<SharedDecision>()
        .map(|shared| (shared.source(), shared.remaining()));
    assert!(
        request.extensions().get::<PeerAddr>().is_some(),
        "what was there before is there still"
    );
    let left = request
        .extensions()
        .get::<Decision>()
        .map(Decision::remaining);
    Ok(Response::new(format!("{shared:?} {left:?}")))
}

async fn told(layer: &RateLimitLayer) -> String {
    let answer = layer
        .layer(service_fn(tell))
        .oneshot(from("192.0.2.7"))
        .await
        .unwrap();
    String::from_utf8(
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// One after the other, the policy's header of so many answers, and their status.
async fn policies(layer: &RateLimitLayer, requests: usize) -> Vec<(u16, Option<String>)> {
    let mut policies = Vec::new();
    for _ in 0..requests {
        let answer = ask(layer, from("192.0.2.7")).await;
        let policy = answer
            .headers()
            .get("x-ratelimit-without-redis")
            .map(|policy| policy.to_str().unwrap().to_owned());
        policies.push((answer.status().as_u16(), policy));
    }
    policies
}

#[tokio::test]
async fn two_services_share_a_limit() {
    let server = RedisServer::start();
    let (one, other) = (layer(builder(&server)).await, layer(builder(&server)).await);
    let two = || ["192.0.2.7"; 2].map(from);
    assert_eq!(statuses(&one, two()).await, [200, 200]);
    assert_eq!(statuses(&other, two()).await, [200, 429]);
    assert_eq!(
        statuses(&one, ["192.0.2.7", "192.0.2.8"].map(from)).await,
        [429, 200]
    );
    let refused = ask(&one, from("192.0.2.7")).await;
    assert_eq!(refused.headers()["x-ratelimit-limit"], "3");
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
    // A token comes back in 8 hours.
    let retry_after: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((28_000..=28_802).contains(&retry_after), "{retry_after}");
    assert!(!refused.headers().contains_key("x-ratelimit-without-redis"));
}

#[tokio::test]
async fn a_rule_is_for_the_key_as_text() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    limiter
        .set_rule("2001:db8::", Quota::per_day(1))
        .await
        .unwrap();
    limiter.set_rule("alice", Quota::per_day(2)).await.unwrap();
    let by_address = RateLimitLayer::redis(limiter.clone(), Key::ip());
    assert_eq!(
        statuses(&by_address, ["[2001:db8::7]"; 2].map(from)).await,
        [200, 429]
    );
    let by_header =
        RateLimitLayer::redis(limiter, Key::header("x-api-key".parse().unwrap())).cost(|_| 2);
    assert_eq!(
        statuses(
            &by_header,
            [(); 2].map(|()| with(&[("x-api-key", "alice")]))
        )
        .await,
        [200, 429]
    );
    assert_eq!(statuses(&by_header, [from("192.0.2.7")]).await, [401]);
}

#[tokio::test]
async fn the_service_behind_and_the_refusal_see_who_decided() {
    let mut server = RedisServer::start();
    let source = |request: &http::request::Parts| {
        request
            .extensions
            .get::<SharedDecision>()
            .map(SharedDecision::source)
    };
    let layer = layer(builder(&server))
        .await
        .refusal(move |_, request| Response::new(format!("{:?}", source(request))));
    assert_eq!(told(&layer).await, "Some((Redis, 2)) Some(2)");
    assert_eq!(told(&layer).await, "Some((Redis, 1)) Some(1)");
    assert_eq!(told(&layer).await, "Some((Redis, 0)) Some(0)");
    assert_eq!(told(&layer).await, "Some(Redis)");
    server.kill();
    assert_eq!(told(&layer).await, "Some((Local, 2)) Some(2)");
    assert_eq!(told(&layer).await, "Some((Local, 1)) Some(1)");
    assert_eq!(told(&layer).await, "Some((Local, 0)) Some(0)");
    assert_eq!(told(&layer).await, "Some(Local)");
}

#[tokio::test]
async fn without_redis_the_policy_decides_and_is_told() {
    let mut server = RedisServer::start();
    let local = layer(builder(&server)).await;
    let open = layer(builder(&server).on_error(RedisFallback::Open)).await;
    let closed = layer(builder(&server).on_error(RedisFallback::Closed)).await;
    assert_eq!(policies(&open, 1).await, [(200, None)]);
    server.kill();
    let says = |status: u16, policy: &str| (status, Some(policy.to_owned()));
    let [allowed, refused] = [says(200, "local"), says(429, "local")];
    assert_eq!(
        policies(&local, 4).await,
        [allowed.clone(), allowed.clone(), allowed, refused]
    );
    assert_eq!(policies(&open, 4).await, vec![says(200, "open"); 4]);
    assert_eq!(policies(&closed, 2).await, vec![says(503, "closed"); 2]);

    server.restart();
    eventually("an answer of Redis", async || {
        policies(&closed, 1).await == [(200, None)]
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_nobody_can_look_up_is_not_the_clients_fault() {
    let mut server = RedisServer::start();
    let closed = layer(builder(&server).on_error(RedisFallback::Closed)).await;
    server.kill();
    let refused = ask(&closed, from("192.0.2.7")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(
        !refused.headers().contains_key("x-ratelimit-remaining"),
        "{refused:?}"
    );
    assert_eq!(
        refused.body(),
        r#"{"error": "Service Unavailable", "message": "the limits cannot be looked up now"}"#
    );

    let grpc = ask(&closed, with(&[("content-type", "application/grpc")])).await;
    assert_eq!(grpc.status(), 200);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    assert_eq!(
        grpc.headers()["grpc-message"],
        "the limits cannot be looked up now"
    );

    let own = closed.refusal(|_, _| Response::new("own".to_owned()));
    let refused = ask(&own, from("192.0.2.7")).await;
    assert_eq!(refused.body(), "own");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["x-ratelimit-without-redis"], "closed");
}

#[tokio::test]
async fn what_is_on_lease_is_answered_without_waiting() {
    let server = RedisServer::start();
    let quota = Quota::per_day(1000);
    let builder = RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(1.0);
    let limiter = builder.connect().await.unwrap();
    let layer = RateLimitLayer::redis(limiter.clone(), Key::ip());
    let at_once = async || {
        let answer = layer.layer(service_fn(tell)).call(from("192.0.2.7"));
        matches!(
            pin!(answer).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(_))
        )
    };
    assert_eq!(statuses(&layer, [from("192.0.2.7")]).await, [200]);
    eventually("tokens are on lease, and taken without a pause", at_once).await;
    assert!(told(&layer).await.starts_with("Some((Lease, "));
    let stats = limiter.stats();
    assert!(stats.lease > 0 && stats.fallback == 0, "{stats:?}");
    let source = limiter.try_acquire("192.0.2.7", 1).await.source();
    assert_eq!(
        source,
        DecisionSource::Lease,
        "the same bucket as the layer's"
    );
    limiter.close().await;
}

#[tokio::test]
async fn debug_tells_what_the_layer_does_and_no_password() {
    let server = RedisServer::with(&["--requirepass", "secret"]);
    let url = format!("redis://:secret@127.0.0.1:{}/", server.port);
    let layer = RateLimitLayer::redis(RedisLimiter::connect(&url, QUOTA).await.unwrap(), Key::ip());
    let text = format!("{layer:?}");
    assert!(
        text.contains("RedisLimiter") && text.contains("3/day") && !text.contains("secret"),
        "{text}"
    );
}
