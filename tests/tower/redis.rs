//! Redis backend: shared limits, source of decisions, fallback policies and leases.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::support::{request_from, request_with, send, statuses};
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use test_support::redis::{RedisServer, eventually};
use tollgate::{
    DecisionSource, DecisionView, Quota, RedisFallback, RedisLimiter, RedisLimiterBuilder,
    tower::{Key, PeerAddr, RateLimitLayer},
};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Quota whose refill is negligible during a test.
const QUOTA: Quota = Quota::per_day(3);

fn builder(server: &RedisServer) -> RedisLimiterBuilder {
    // A busy test machine must not look like an unavailable server.
    RedisLimiter::builder(&server.url(), QUOTA).timeout(Duration::from_secs(10))
}

async fn layer(builder: RedisLimiterBuilder) -> RateLimitLayer {
    RateLimitLayer::redis(builder.connect().await.unwrap(), Key::ip())
}

/// Responds with the decision in the request's extensions.
async fn show_decision(request: Request<Body>) -> Result<Response<String>, Infallible> {
    let shared = request
        .extensions()
        .get::<DecisionView>()
        .map(|shared| (shared.source(), shared.remaining()));
    assert!(
        request.extensions().get::<PeerAddr>().is_some(),
        "existing extensions are kept"
    );
    let left = request
        .extensions()
        .get::<DecisionView>()
        .map(DecisionView::remaining);
    Ok(Response::new(format!("{shared:?} {left:?}")))
}

/// Body of the response to one request.
async fn decision(layer: &RateLimitLayer) -> String {
    let response = layer
        .layer(service_fn(show_decision))
        .oneshot(request_from("192.0.2.7"))
        .await
        .unwrap();
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// Status and fallback policy header of consecutive responses.
async fn policies(layer: &RateLimitLayer, requests: usize) -> Vec<(u16, Option<String>)> {
    let mut policies = Vec::new();
    for _ in 0..requests {
        let response = send(layer, request_from("192.0.2.7")).await;
        let policy = response
            .headers()
            .get("x-ratelimit-without-redis")
            .map(|policy| policy.to_str().unwrap().to_owned());
        policies.push((response.status().as_u16(), policy));
    }
    policies
}

#[tokio::test]
async fn two_services_share_a_limit() {
    let server = RedisServer::start();
    let (one, other) = (layer(builder(&server)).await, layer(builder(&server)).await);
    let two = || ["192.0.2.7"; 2].map(request_from);
    assert_eq!(statuses(&one, two()).await, [200, 200]);
    assert_eq!(statuses(&other, two()).await, [200, 429]);
    assert_eq!(
        statuses(&one, ["192.0.2.7", "192.0.2.8"].map(request_from)).await,
        [429, 200]
    );
    let refused = send(&one, request_from("192.0.2.7")).await;
    assert_eq!(refused.headers()["x-ratelimit-limit"], "3");
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
    // The next token is available after 8 hours.
    let retry_after: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((28_000..=28_802).contains(&retry_after), "{retry_after}");
    assert!(!refused.headers().contains_key("x-ratelimit-without-redis"));
}

#[tokio::test]
async fn rules_apply_to_keys_as_text() {
    let server = RedisServer::start();
    let limiter = builder(&server).connect().await.unwrap();
    limiter
        .set_rule("2001:db8::", Quota::per_day(1))
        .await
        .unwrap();
    limiter.set_rule("alice", Quota::per_day(2)).await.unwrap();
    let by_address = RateLimitLayer::redis(limiter.clone(), Key::ip());
    assert_eq!(
        statuses(&by_address, ["[2001:db8::7]"; 2].map(request_from)).await,
        [200, 429]
    );
    let by_header =
        RateLimitLayer::redis(limiter, Key::header("x-api-key".parse().unwrap())).cost(|_| 2);
    assert_eq!(
        statuses(
            &by_header,
            [(); 2].map(|()| request_with(&[("x-api-key", "alice")]))
        )
        .await,
        [200, 429]
    );
    assert_eq!(
        statuses(&by_header, [request_from("192.0.2.7")]).await,
        [401]
    );
}

#[tokio::test]
async fn inner_service_and_refusal_function_see_the_decision_source() {
    let mut server = RedisServer::start();
    let layer = layer(builder(&server))
        .await
        .refusal(|decision, _| Response::new(format!("{:?}", decision.source())));
    assert_eq!(decision(&layer).await, "Some((Redis, 2)) Some(2)");
    assert_eq!(decision(&layer).await, "Some((Redis, 1)) Some(1)");
    assert_eq!(decision(&layer).await, "Some((Redis, 0)) Some(0)");
    assert_eq!(decision(&layer).await, "Redis");
    server.kill();
    let mut local = decision(&layer).await;
    // A refusal by Redis is repeated from memory for at most 100 ms.
    while local == "Lease" {
        tokio::time::sleep(Duration::from_millis(10)).await;
        local = decision(&layer).await;
    }
    assert_eq!(local, "Some((Local, 2)) Some(2)");
    assert_eq!(decision(&layer).await, "Some((Local, 1)) Some(1)");
    assert_eq!(decision(&layer).await, "Some((Local, 0)) Some(0)");
    assert_eq!(decision(&layer).await, "Local");
}

#[tokio::test]
async fn fallback_policy_decides_without_redis_and_is_named_in_a_header() {
    let mut server = RedisServer::start();
    let local = layer(builder(&server)).await;
    let open = layer(builder(&server).on_error(RedisFallback::Open)).await;
    let closed = layer(builder(&server).on_error(RedisFallback::Closed)).await;
    assert_eq!(policies(&open, 1).await, [(200, None)]);
    server.kill();
    let result = |status: u16, policy: &str| (status, Some(policy.to_owned()));
    let [allowed, refused] = [result(200, "local"), result(429, "local")];
    assert_eq!(
        policies(&local, 4).await,
        [allowed.clone(), allowed.clone(), allowed, refused]
    );
    assert_eq!(policies(&open, 4).await, vec![result(200, "open"); 4]);
    assert_eq!(policies(&closed, 2).await, vec![result(503, "closed"); 2]);

    server.restart();
    eventually("a decision by Redis", async || {
        policies(&closed, 1).await == [(200, None)]
    })
    .await;
}

#[tokio::test]
async fn closed_fallback_is_503_and_not_429() {
    let mut server = RedisServer::start();
    let closed = layer(builder(&server).on_error(RedisFallback::Closed)).await;
    server.kill();
    let refused = send(&closed, request_from("192.0.2.7")).await;
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

    let grpc = send(
        &closed,
        request_with(&[("content-type", "application/grpc")]),
    )
    .await;
    assert_eq!(grpc.status(), 200);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    assert_eq!(
        grpc.headers()["grpc-message"],
        "the limits cannot be looked up now"
    );

    let own = closed.refusal(|_, _| Response::new("own".to_owned()));
    let refused = send(&own, request_from("192.0.2.7")).await;
    assert_eq!(refused.body(), "own");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["x-ratelimit-without-redis"], "closed");
}

#[tokio::test]
async fn leased_tokens_are_taken_without_waiting() {
    let server = RedisServer::start();
    let quota = Quota::per_day(1000);
    let builder = RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(1.0);
    let limiter = builder.connect().await.unwrap();
    let layer = RateLimitLayer::redis(limiter.clone(), Key::ip());
    let at_once = async || {
        let response = layer
            .layer(service_fn(show_decision))
            .call(request_from("192.0.2.7"));
        matches!(
            pin!(response).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(_))
        )
    };
    assert_eq!(statuses(&layer, [request_from("192.0.2.7")]).await, [200]);
    eventually("leased tokens are taken without a wait", at_once).await;
    assert!(decision(&layer).await.starts_with("Some((Lease, "));
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
async fn debug_shows_the_limiter_without_its_password() {
    let server = RedisServer::with(&["--requirepass", "secret"]);
    let url = format!("redis://:secret@127.0.0.1:{}/", server.port);
    let layer = RateLimitLayer::redis(RedisLimiter::connect(&url, QUOTA).await.unwrap(), Key::ip());
    let text = format!("{layer:?}");
    assert!(
        text.contains("RedisLimiter") && text.contains("3/day") && !text.contains("secret"),
        "{text}"
    );
}

/// *Caught:* a delay that is ignored; no bound.
#[tokio::test]
async fn requests_wait_for_tokens_in_redis() {
    let server = RedisServer::start();
    let quota = Quota::per_second(2).with_capacity(1);
    let builder = RedisLimiter::builder(&server.url(), quota).timeout(Duration::from_secs(10));
    let layer = layer(builder)
        .await
        .delay(Duration::from_secs(30))
        .max_delayed(3, 100);
    let service = layer.layer(service_fn(show_decision));
    let sent = (0..8).map(|_| service.clone().oneshot(request_from("192.0.2.7")));
    let responses = futures_util::future::join_all(sent).await;
    let allowed = responses
        .into_iter()
        .filter(|response| response.as_ref().unwrap().status() == 200);
    // A token may arrive before the last request does.
    let allowed = allowed.count();
    assert!((4..=5).contains(&allowed), "{allowed}");
}

/// *Caught:* a request that tries before it joins the line.
#[tokio::test]
async fn a_cheap_request_does_not_overtake_a_dear_one_in_redis() {
    let server = RedisServer::start();
    let quota = Quota::per_second(4);
    let builder = RedisLimiter::builder(&server.url(), quota).timeout(Duration::from_secs(10));
    let limiter = builder.connect().await.unwrap();
    let layer = RateLimitLayer::redis(limiter.clone(), Key::ip())
        .cost(|request| request.uri.path().len() as u32)
        .delay(Duration::from_secs(30));
    let service = layer.layer(service_fn(show_decision));
    let served = std::sync::Mutex::new(Vec::new());
    let send = async |path: &'static str| {
        let mut request = request_from("192.0.2.7");
        *request.uri_mut() = path.parse().unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        served.lock().unwrap().push(path);
    };
    send("/aaa").await;
    let late = async {
        eventually("a token is there", async || {
            limiter.available("192.0.2.7").await > 0
        })
        .await;
        send("/").await;
    };
    tokio::join!(send("/bbb"), late);
    assert_eq!(*served.lock().unwrap(), ["/aaa", "/bbb", "/"]);
}
