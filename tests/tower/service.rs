//! Calls of the inner service, its readiness, costs, exemptions and asynchronous decisions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{Reached, limiter, one_each, request_from, send, statuses};
use axum::body::Body;
use http::{Method, Request, Response};
use tokio::sync::oneshot;
use tollgate::{
    KeyedLimiter, ManualClock, Quota,
    tower::{Key, RateLimitLayer, RequestKey},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};

#[tokio::test]
async fn refused_requests_never_reach_the_inner_service() {
    let (reached, layer) = (
        Reached::default(),
        RateLimitLayer::with_limiter(limiter(Quota::per_hour(3)).0, Key::ip()),
    );
    for _ in 0..10 {
        layer
            .layer(reached.clone())
            .oneshot(request_from("192.0.2.7"))
            .await
            .unwrap();
    }
    layer
        .layer(reached.clone())
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap();
    assert_eq!(reached.count(), 3);
}

#[tokio::test]
async fn tokens_are_refilled_over_time() {
    let (limiter, clock) = limiter(Quota::per_second(2));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip());
    let three = || ["192.0.2.7"; 3].map(request_from);
    assert_eq!(statuses(&layer, three()).await, [200, 200, 429]);
    clock.advance(Duration::from_millis(500));
    assert_eq!(statuses(&layer, three()).await, [200, 429, 429]);
}

#[tokio::test]
async fn clones_and_services_of_a_layer_share_one_limit() {
    let layer = RateLimitLayer::per_ip(Quota::per_hour(2));
    assert_eq!(
        statuses(&layer.clone(), [request_from("192.0.2.7")]).await,
        [200]
    );
    assert_eq!(
        statuses(&layer, ["192.0.2.7"; 2].map(request_from)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn configuring_a_clone_does_not_change_the_original() {
    let layer = one_each(Key::ip());
    let unlimited = layer.clone().exempt(|_| true);
    assert_eq!(
        statuses(&unlimited, ["192.0.2.7"; 3].map(request_from)).await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(&layer, ["192.0.2.7"; 2].map(request_from)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn inner_service_sees_the_decision() {
    let layer = RateLimitLayer::with_limiter(limiter(Quota::per_hour(3)).0, Key::ip());
    assert_eq!(
        send(&layer, request_from("192.0.2.7")).await.body(),
        "reached, left: Some(2)"
    );
    assert_eq!(
        send(&layer.exempt(|_| true), request_from("192.0.2.7"))
            .await
            .body(),
        "reached, left: None"
    );
}

#[tokio::test]
async fn cost_function_sets_the_tokens_of_a_request() {
    let layer =
        RateLimitLayer::with_limiter(limiter(Quota::per_hour(10)).0, Key::ip()).cost(|request| {
            match request.method {
                Method::POST => 3,
                Method::PUT => 11,
                Method::OPTIONS => 0,
                _ => 1,
            }
        });
    let remaining = async |method: Method| {
        let mut request = request_from("192.0.2.7");
        *request.method_mut() = method;
        let response = send(&layer, request).await;
        (
            response.status().as_u16(),
            response.headers()["x-ratelimit-remaining"]
                .to_str()
                .unwrap()
                .to_owned(),
        )
    };
    let result = |status: u16, left: &str| (status, left.to_owned());
    assert_eq!(remaining(Method::POST).await, result(200, "7"));
    assert_eq!(remaining(Method::GET).await, result(200, "6"));
    assert_eq!(remaining(Method::PUT).await, result(429, "6"));
    assert_eq!(remaining(Method::OPTIONS).await, result(200, "6"));
}

#[tokio::test]
async fn exempt_request_takes_no_tokens_and_needs_no_key_and_gets_no_header() {
    let layer = one_each(Key::ip())
        .exempt(|request| request.uri.path() == "/health")
        .exempt(|r| r.method == Method::HEAD);
    let health = || {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/health".parse().unwrap();
        request
    };
    assert_eq!(statuses(&layer, [health(), health()]).await, [200, 200]);
    assert!(
        !send(&layer, health())
            .await
            .headers()
            .contains_key("x-ratelimit-limit")
    );
    let mut head = request_from("192.0.2.7");
    *head.method_mut() = Method::HEAD;
    assert_eq!(
        statuses(
            &layer,
            [head, request_from("192.0.2.7"), request_from("192.0.2.7")]
        )
        .await,
        [200, 200, 429]
    );
}

#[tokio::test]
async fn refusal_does_not_consume_readiness() {
    // The inner service takes one request at a time: readiness is a permit that `call` consumes.
    let single = ConcurrencyLimitLayer::new(1).layer(Reached::default());
    let mut service = one_each(Key::ip()).layer(single);
    let allowed = service
        .ready()
        .await
        .unwrap()
        .call(request_from("192.0.2.7"))
        .await
        .unwrap();
    assert_eq!(allowed.status(), 200);
    // If a refused request lost the permit, the second ready() would wait forever.
    for _ in 0..3 {
        let refused = service
            .ready()
            .await
            .unwrap()
            .call(request_from("192.0.2.7"))
            .await
            .unwrap();
        assert_eq!(refused.status(), 429);
    }
    assert_eq!(
        service
            .ready()
            .await
            .unwrap()
            .call(request_from("192.0.2.8"))
            .await
            .unwrap()
            .status(),
        200
    );
}

/// Service that only the instance that was polled ready may be called on. It counts its clones.
#[derive(Default)]
struct RequiresReady {
    ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for RequiresReady {
    fn clone(&self) -> RequiresReady {
        self.clones.fetch_add(1, Ordering::SeqCst);
        RequiresReady {
            ready: false,
            clones: Arc::clone(&self.clones),
        }
    }
}

impl Service<Request<Body>> for RequiresReady {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let was_ready = std::mem::take(&mut self.ready);
        assert!(was_ready, "called without having been polled ready");
        std::future::ready(Err("the service's own error"))
    }
}

#[tokio::test]
async fn instance_that_was_polled_ready_is_called() {
    let service = RequiresReady::default();
    let clones = Arc::clone(&service.clones);
    let mut synchronous = RateLimitLayer::per_ip(Quota::per_hour(10)).layer(service);
    for _ in 0..3 {
        assert_eq!(
            synchronous
                .ready()
                .await
                .unwrap()
                .call(request_from("192.0.2.7"))
                .await
                .unwrap_err(),
            "the service's own error"
        );
    }
    assert_eq!(clones.load(Ordering::SeqCst), 0);

    let (limiter, _) = limiter(Quota::per_hour(10));
    let asynchronous_layer = RateLimitLayer::from_fn(Key::ip(), move |request, cost| {
        std::future::ready(limiter.try_acquire(request.key().unwrap(), cost))
    });
    let mut asynchronous = asynchronous_layer.layer(RequiresReady::default());
    for _ in 0..3 {
        assert_eq!(
            asynchronous
                .ready()
                .await
                .unwrap()
                .call(request_from("192.0.2.7"))
                .await
                .unwrap_err(),
            "the service's own error"
        );
    }
}

#[tokio::test]
async fn request_waits_for_an_asynchronous_decision() {
    let (limiter, _) = limiter(Quota::per_hour(1));
    let permits = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let layer = RateLimitLayer::from_fn(Key::ip(), {
        let (permits, keys) = (Arc::clone(&permits), Arc::clone(&keys));
        move |request, cost| {
            let key = request.key().unwrap().clone().into_owned();
            let (permit, permitted) = oneshot::channel::<()>();
            permits.lock().unwrap().push(permit);
            keys.lock().unwrap().push((key.clone(), cost));
            let limiter = Arc::clone(&limiter);
            async move {
                permitted.await.unwrap();
                limiter.try_acquire(&key, cost)
            }
        }
    })
    .cost(|_| 1);
    let reached = Reached::default();
    for (status, count) in [(200, 1), (429, 1)] {
        let response = tokio::spawn(
            layer
                .layer(reached.clone())
                .oneshot(request_from("[2001:db8::7]")),
        );
        while permits.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let permit = permits.lock().unwrap().pop().unwrap();
        assert!(!response.is_finished());
        permit.send(()).unwrap();
        let response = response.await.unwrap().unwrap();
        assert_eq!(
            (response.status().as_u16(), reached.count()),
            (status, count)
        );
        assert_eq!(response.headers()["x-ratelimit-remaining"], "0");
    }
    let key = RequestKey::ip("2001:db8::7".parse().unwrap());
    assert_eq!(*keys.lock().unwrap(), [(key.clone(), 1), (key, 1)]);
}

#[tokio::test]
async fn request_dropped_before_the_decision_is_not_called() {
    let reached = Reached::default();
    let layer = RateLimitLayer::from_fn(Key::ip(), |_, _| {
        std::future::pending::<tollgate::Decision>()
    });
    let mut service = layer.layer(reached.clone());
    let response = service
        .ready()
        .await
        .unwrap()
        .call(request_from("192.0.2.7"));
    let waited = tokio::time::timeout(Duration::from_millis(1), response).await;
    assert!(waited.is_err());
    assert_eq!(reached.count(), 0);
}

#[test]
fn debug_shows_key_quota_and_prefix() {
    let layer = one_each(Key::ip().and(Key::path()));
    let text = format!("{layer:?}");
    assert!(
        text.contains("(ip and path)")
            && text.contains("1/hour")
            && text.contains("ipv6_prefix: 64"),
        "{text}"
    );
}

/// The functions of a layer see the client's key, and a refusal has a body of any type.
#[tokio::test]
async fn functions_see_the_key_and_refusals_have_any_body() {
    let builder = KeyedLimiter::builder(Quota::per_hour(3)).hasher(std::hash::RandomState::new());
    let limiter = builder.clock(ManualClock::new()).build().unwrap();
    let address = |request: &tollgate::tower::LimitedRequest<'_>| {
        let key = request.key().expect("a peer is known");
        key.address().unwrap().to_string()
    };
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip())
        .exempt(move |request| address(request) == "192.0.2.1")
        .cost(move |request| {
            if address(request) == "192.0.2.2" {
                3
            } else {
                1
            }
        })
        .refusal(move |decision, request| {
            let text = format!("{}: {}", address(request), decision.outcome() as u8);
            Response::new(http_body_util::Full::new(bytes_of(text)))
        });
    let mut statuses = Vec::new();
    for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"] {
        let service = layer.layer(Reached::default());
        let response = service.oneshot(request_from(peer)).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body());
        statuses.push(String::from_utf8(body.await.unwrap().to_bytes().to_vec()).unwrap());
    }
    assert_eq!(
        statuses,
        [
            "reached, left: None",
            "reached, left: Some(0)",
            "192.0.2.2: 1",
            "reached, left: Some(2)"
        ]
    );
}

fn bytes_of(text: String) -> axum::body::Bytes {
    text.into()
}
