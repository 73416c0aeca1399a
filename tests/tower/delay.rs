//! Requests that wait for their tokens, under virtual time.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tokio::time::{Instant, timeout};
use tollgate::{
    KeyedLimiter, Quota, TokioClock,
    tower::{Key, Limit, RateLimit, RateLimitLayer, RequestKey},
};
use tower::{Layer, ServiceExt};

use crate::support::{Reached, request_from};

/// Ten a second, one at once.
fn layer() -> (RateLimitLayer, Arc<KeyedLimiter<RequestKey<'static>>>) {
    let quota = Quota::per_second(10).with_capacity(1);
    let limiter = KeyedLimiter::builder(quota)
        .clock(TokioClock::new())
        .build();
    let limiter = Arc::new(limiter.unwrap());
    (
        RateLimitLayer::with_limiter(Arc::clone(&limiter), Key::ip()),
        limiter,
    )
}

fn milliseconds(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Sends a request, and returns its status and the time of the response in tenths of a second.
async fn send(service: RateLimit<Reached>, began: Instant, request: Request<Body>) -> (u16, u128) {
    let response = service.oneshot(request).await.unwrap();
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        assert!(response.headers().contains_key("retry-after"));
    }
    // A timer of tokio may be a millisecond late.
    (
        response.status().as_u16(),
        began.elapsed().as_millis() / 100,
    )
}

/// *Caught:* a delay that is ignored; an estimate that ignores the requests ahead.
#[tokio::test(start_paused = true)]
async fn requests_wait_in_order_and_no_longer_than_the_delay() {
    let reached = Reached::default();
    let service = layer().0.delay(milliseconds(250)).layer(reached.clone());
    let began = Instant::now();
    let sent = (0..6).map(|_| send(service.clone(), began, request_from("192.0.2.7")));
    let responses = join_all(sent).await;
    assert_eq!(
        responses,
        [(200, 0), (200, 1), (200, 2), (429, 0), (429, 0), (429, 0)]
    );
    assert_eq!(reached.count(), 3);
    // Without a delay.
    let service = layer().0.layer(reached);
    let sent = (0..2).map(|_| send(service.clone(), Instant::now(), request_from("192.0.2.7")));
    assert_eq!(join_all(sent).await, [(200, 0), (429, 0)]);
}

/// *Caught:* a request that keeps its place, or its tokens, after the client has left.
#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_gives_its_place_up() {
    let reached = Reached::default();
    let (layer, limiter) = layer();
    let service = layer
        .delay(milliseconds(10_000))
        .max_delayed(2, 2)
        .layer(reached.clone());
    let began = Instant::now();
    let send = || send(service.clone(), began, request_from("192.0.2.7"));
    assert_eq!(send().await, (200, 0));
    for _ in 0..20 {
        assert!(timeout(milliseconds(1), send()).await.is_err());
    }
    // The next token is theirs, and the one after that.
    assert_eq!(join_all([send(), send()]).await, [(200, 1), (200, 2)]);
    assert_eq!(reached.count(), 3);
    tokio::time::sleep(milliseconds(100)).await;
    let key = RequestKey::ip("192.0.2.7".parse().unwrap());
    assert_eq!(limiter.available(&key), 1);
}

/// *Caught:* no bound for a client; no bound for all.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_bounded_per_client_and_in_total() {
    let long = milliseconds(60_000);
    let service = layer().0.delay(long).layer(Reached::default());
    let began = Instant::now();
    let sent = (0..20).map(|_| send(service.clone(), began, request_from("192.0.2.7")));
    let responses = join_all(sent).await;
    let delayed = (0..=16).map(|n| (200, n));
    let expected: Vec<_> = delayed.chain([(429, 0); 3]).collect();
    assert_eq!(responses, expected);

    let service = layer()
        .0
        .delay(long)
        .max_delayed(16, 3)
        .layer(Reached::default());
    let began = Instant::now();
    let clients = ["192.0.2.1", "192.0.2.2"].into_iter().cycle();
    let sent = clients
        .take(8)
        .map(|client| send(service.clone(), began, request_from(client)));
    let mut responses = join_all(sent).await;
    responses.sort();
    assert_eq!(
        responses,
        [
            (200, 0),
            (200, 0),
            (200, 1),
            (200, 1),
            (200, 2),
            (429, 0),
            (429, 0),
            (429, 0)
        ]
    );
}

/// *Caught:* a delay that is ignored.
#[tokio::test(start_paused = true)]
async fn a_cheap_request_does_not_overtake_a_dear_one() {
    let quota = Quota::per_second(10).with_capacity(5);
    let limiter = KeyedLimiter::builder(quota)
        .clock(TokioClock::new())
        .build();
    let service = RateLimitLayer::with_limiter(limiter.unwrap(), Key::ip())
        .cost(|request| request.uri.path().len() as u32)
        .delay(milliseconds(5_000))
        .layer(Reached::default());
    let began = Instant::now();
    let send = |path: &'static str| {
        let mut request = request_from("192.0.2.7");
        *request.uri_mut() = path.parse().unwrap();
        send(service.clone(), began, request)
    };
    assert_eq!(send("/aaaa").await, (200, 0));
    let late = async {
        tokio::time::sleep(milliseconds(350)).await;
        send("/").await
    };
    let (dear, cheap) = tokio::join!(send("/bbbb"), late);
    assert_eq!((dear, cheap), ((200, 5), (200, 6)));
}

type Limiter = Arc<KeyedLimiter<RequestKey<'static>>>;

fn limiter(quota: Quota) -> Limiter {
    let builder = KeyedLimiter::builder(quota).clock(TokioClock::new());
    Arc::new(builder.build().unwrap())
}

/// Ten a second, one at once, and four an hour.
fn two_limits() -> [(&'static str, Limiter); 2] {
    let smooth = limiter(Quota::per_second(10).with_capacity(1));
    [("smooth", smooth), ("hourly", limiter(Quota::per_hour(4)))]
}

fn layer_of(limits: &[(&'static str, Limiter); 2]) -> RateLimitLayer {
    let limits = limits.each_ref();
    RateLimitLayer::all(
        limits.map(|(name, limiter)| Limit::with_limiter(name, Arc::clone(limiter), Key::ip())),
    )
}

/// *Caught:* a delay that is ignored.
#[tokio::test(start_paused = true)]
async fn a_request_waits_for_several_limits() {
    let reached = Reached::default();
    let limits = two_limits();
    let service = layer_of(&limits)
        .delay(milliseconds(500))
        .layer(reached.clone());
    let began = Instant::now();
    let sent = (0..6).map(|_| send(service.clone(), began, request_from("192.0.2.7")));
    // The fifth, at the head of the line, would wait for a quarter of an hour.
    assert_eq!(
        join_all(sent).await,
        [(200, 0), (200, 1), (200, 2), (200, 3), (429, 4), (429, 4)]
    );
    assert_eq!(reached.count(), 4);
    let key = RequestKey::ip("192.0.2.7".parse().unwrap());
    tokio::time::sleep(milliseconds(100)).await;
    assert_eq!(limits[0].1.available(&key), 1);
    // A refusal that does not end in time is one at once.
    let began = Instant::now();
    assert_eq!(
        send(service.clone(), began, request_from("192.0.2.7")).await,
        (429, 0)
    );
    assert_eq!(limits[0].1.available(&key), 1);
}

/// *Caught:* a delay that is ignored; places that are given back before the wait.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_several_limits_are_bounded_and_named() {
    let service = layer_of(&two_limits())
        .delay(milliseconds(60_000))
        .max_delayed(1, 8)
        .headers(tollgate::tower::HeaderStyle::Draft11)
        .layer(Reached::default());
    let send = || service.clone().oneshot(request_from("192.0.2.7"));
    let responses = join_all((0..3).map(|_| send())).await;
    let found = responses.into_iter().map(|response| {
        let response = response.unwrap();
        let names = &response.headers()["ratelimit"];
        let names = names.to_str().unwrap();
        assert!(
            names.contains("\"smooth\"") && names.contains("\"hourly\""),
            "{names}"
        );
        response.status().as_u16()
    });
    assert_eq!(found.collect::<Vec<_>>(), [200, 200, 429]);
}

/// *Caught:* a delay that is ignored; a shadow limit that is not tried after a wait.
#[tokio::test(start_paused = true)]
async fn shadow_limits_are_tried_after_a_wait() {
    let [(name, smooth), (_, hourly)] = two_limits();
    let shadow = Limit::with_limiter("shadow", Arc::clone(&hourly), Key::ip()).shadow();
    let observed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&observed);
    let service = RateLimitLayer::all([Limit::with_limiter(name, smooth, Key::ip()), shadow])
        .delay(milliseconds(150))
        .on_decision(move |name, view| seen.lock().unwrap().push((name, view.is_allowed())))
        .layer(Reached::default());
    let began = Instant::now();
    let sent = (0..3).map(|_| send(service.clone(), began, request_from("192.0.2.7")));
    assert_eq!(join_all(sent).await, [(200, 0), (200, 1), (429, 0)]);
    let key = RequestKey::ip("192.0.2.7".parse().unwrap());
    assert_eq!(hourly.available(&key), 2);
    let mut observed = observed.lock().unwrap().clone();
    observed.sort_unstable();
    assert_eq!(
        observed,
        [
            ("shadow", true),
            ("shadow", true),
            ("smooth", false),
            ("smooth", true),
            ("smooth", true)
        ]
    );
}
