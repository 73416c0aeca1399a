//! When the service behind the layer is called, with what, and what becomes of its readiness.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{Reached, ask, from, limiter, one_each, statuses};
use axum::body::Body;
use http::{Method, Request, Response};
use tokio::sync::oneshot;
use tollgate::{
    Quota,
    tower::{Key, RateLimitLayer},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};

#[tokio::test]
async fn what_is_refused_never_reaches_the_service() {
    let (reached, layer) = (
        Reached::default(),
        RateLimitLayer::with_limiter(limiter(Quota::per_hour(3)).0, Key::ip()),
    );
    for _ in 0..10 {
        layer
            .layer(reached.clone())
            .oneshot(from("192.0.2.7"))
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
async fn tokens_come_back_with_time() {
    let (limiter, clock) = limiter(Quota::per_second(2));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip());
    let three = || ["192.0.2.7"; 3].map(from);
    assert_eq!(statuses(&layer, three()).await, [200, 200, 429]);
    clock.advance(Duration::from_millis(500));
    assert_eq!(statuses(&layer, three()).await, [200, 429, 429]);
}

#[tokio::test]
async fn clones_and_services_of_a_layer_share_one_limit() {
    let layer = RateLimitLayer::per_ip(Quota::per_hour(2));
    assert_eq!(statuses(&layer.clone(), [from("192.0.2.7")]).await, [200]);
    assert_eq!(
        statuses(&layer, ["192.0.2.7"; 2].map(from)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn a_changed_clone_leaves_the_layer_as_it_was() {
    let layer = one_each(Key::ip());
    let free = layer.clone().exempt(|_| true);
    assert_eq!(
        statuses(&free, ["192.0.2.7"; 3].map(from)).await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(&layer, ["192.0.2.7"; 2].map(from)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn the_service_behind_sees_the_decision() {
    let layer = RateLimitLayer::with_limiter(limiter(Quota::per_hour(3)).0, Key::ip());
    assert_eq!(
        ask(&layer, from("192.0.2.7")).await.body(),
        "reached, left: Some(2)"
    );
    assert_eq!(
        ask(&layer.exempt(|_| true), from("192.0.2.7")).await.body(),
        "reached, left: None"
    );
}

#[tokio::test]
async fn a_cost_function_says_how_many_tokens_a_request_takes() {
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
        let mut request = from("192.0.2.7");
        *request.method_mut() = method;
        let answer = ask(&layer, request).await;
        (
            answer.status().as_u16(),
            answer.headers()["x-ratelimit-remaining"]
                .to_str()
                .unwrap()
                .to_owned(),
        )
    };
    let is = |status: u16, left: &str| (status, left.to_owned());
    assert_eq!(remaining(Method::POST).await, is(200, "7"));
    assert_eq!(remaining(Method::GET).await, is(200, "6"));
    assert_eq!(remaining(Method::PUT).await, is(429, "6"));
    assert_eq!(remaining(Method::OPTIONS).await, is(200, "6"));
}

#[tokio::test]
async fn what_is_exempt_takes_nothing_needs_no_key_and_gets_no_header() {
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
        !ask(&layer, health())
            .await
            .headers()
            .contains_key("x-ratelimit-limit")
    );
    let mut head = from("192.0.2.7");
    *head.method_mut() = Method::HEAD;
    assert_eq!(
        statuses(&layer, [head, from("192.0.2.7"), from("192.0.2.7")]).await,
        [200, 200, 429]
    );
}

#[tokio::test]
async fn a_refusal_does_not_use_up_readiness() {
    // There is room for one at a time behind the layer: readiness is a permit that `call` uses up.
    let busy = ConcurrencyLimitLayer::new(1).layer(Reached::default());
    let mut service = one_each(Key::ip()).layer(busy);
    let allowed = service
        .ready()
        .await
        .unwrap()
        .call(from("192.0.2.7"))
        .await
        .unwrap();
    assert_eq!(allowed.status(), 200);
    // Were the permit of a refused request lost, the second ready() would wait for ever.
    for _ in 0..3 {
        let refused = service
            .ready()
            .await
            .unwrap()
            .call(from("192.0.2.7"))
            .await
            .unwrap();
        assert_eq!(refused.status(), 429);
    }
    assert_eq!(
        service
            .ready()
            .await
            .unwrap()
            .call(from("192.0.2.8"))
            .await
            .unwrap()
            .status(),
        200
    );
}

/// Counts how often it was polled ready; only the very instance that was may be called.
#[derive(Default)]
struct Strict {
    ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Strict {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Strict {
            ready: false,
            clones: Arc::clone(&self.clones),
        }
    }
}

impl Service<Request<Body>> for Strict {
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
async fn the_instance_that_is_ready_is_the_one_that_is_called() {
    let strict = Strict::default();
    let clones = Arc::clone(&strict.clones);
    let mut at_once = RateLimitLayer::per_ip(Quota::per_hour(10)).layer(strict);
    for _ in 0..3 {
        assert_eq!(
            at_once
                .ready()
                .await
                .unwrap()
                .call(from("192.0.2.7"))
                .await
                .unwrap_err(),
            "the service's own error"
        );
    }
    assert_eq!(clones.load(Ordering::SeqCst), 0);

    let (limiter, _) = limiter(Quota::per_hour(10));
    let deciding = RateLimitLayer::from_fn(Key::ip(), move |key, cost| {
        std::future::ready(limiter.try_acquire(&key, cost))
    });
    let mut later = deciding.layer(Strict::default());
    for _ in 0..3 {
        assert_eq!(
            later
                .ready()
                .await
                .unwrap()
                .call(from("192.0.2.7"))
                .await
                .unwrap_err(),
            "the service's own error"
        );
    }
}

#[tokio::test]
async fn what_is_decided_later_waits_and_then_passes_or_not() {
    let (limiter, _) = limiter(Quota::per_hour(1));
    let gates = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let layer = RateLimitLayer::from_fn(Key::ip(), {
        let (gates, keys) = (Arc::clone(&gates), Arc::clone(&keys));
        move |key, cost| {
            let (open, opened) = oneshot::channel::<()>();
            gates.lock().unwrap().push(open);
            keys.lock().unwrap().push((key.clone(), cost));
            let limiter = Arc::clone(&limiter);
            async move {
                opened.await.unwrap();
                limiter.try_acquire(&key, cost)
            }
        }
    })
    .cost(|_| 1);
    let reached = Reached::default();
    for (status, count) in [(200, 1), (429, 1)] {
        let answer = tokio::spawn(layer.layer(reached.clone()).oneshot(from("[2001:db8::7]")));
        while gates.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let open = gates.lock().unwrap().pop().unwrap();
        assert!(!answer.is_finished());
        open.send(()).unwrap();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), reached.count()), (status, count));
        assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
    }
    assert_eq!(
        *keys.lock().unwrap(),
        [("2001:db8::".to_owned(), 1), ("2001:db8::".to_owned(), 1)]
    );
}

#[tokio::test]
async fn who_leaves_while_it_is_decided_reaches_nobody() {
    let reached = Reached::default();
    let layer = RateLimitLayer::from_fn(Key::ip(), |_, _| std::future::pending());
    let mut service = layer.layer(reached.clone());
    let answer = service.ready().await.unwrap().call(from("192.0.2.7"));
    let waited = tokio::time::timeout(Duration::from_millis(1), answer).await;
    assert!(waited.is_err());
    assert_eq!(reached.count(), 0);
}

#[test]
fn debug_tells_what_the_layer_does() {
    let layer = one_each(Key::ip().and(Key::path()));
    let text = format!("{layer:?}");
    assert!(
        text.contains("(ip and path)")
            && text.contains("1/hour")
            && text.contains("ipv6_prefix: 64"),
        "{text}"
    );
}
