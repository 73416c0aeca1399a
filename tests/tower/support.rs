//! Shared test code: a service that counts its calls, and a limiter with a manual clock.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tollgate::{
    DecisionView, KeyedLimiter, ManualClock, Quota,
    tower::{Key, PeerAddr, RateLimitLayer, RequestKey},
};
use tower::{Layer, Service, ServiceExt};

/// Counts its calls. Responds with "reached" and the remaining tokens from the layer's extension.
#[derive(Clone, Default)]
pub struct Reached(pub Arc<AtomicUsize>);

impl Reached {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Service<Request<Body>> for Reached {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        let left = request
            .extensions()
            .get::<DecisionView>()
            .map(DecisionView::remaining);
        std::future::ready(Ok(Response::new(Body::from(format!(
            "reached, left: {left:?}"
        )))))
    }
}

/// Limiter with a clock that the test advances.
pub fn limiter(quota: Quota) -> (Arc<KeyedLimiter<RequestKey<'static>>>, ManualClock) {
    let clock = ManualClock::new();
    (
        Arc::new(
            KeyedLimiter::builder(quota)
                .max_keys(1000)
                .clock(clock.clone())
                .build()
                .unwrap(),
        ),
        clock,
    )
}

/// Layer that allows one request per key, since its clock stands still.
pub fn one_each(key: Key) -> RateLimitLayer {
    RateLimitLayer::with_limiter(limiter(Quota::per_hour(1)).0, key)
}

/// GET request from this peer.
pub fn request_from(peer: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

/// GET request from 192.0.2.7 with these headers.
pub fn request_with(headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = request_from("192.0.2.7");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// Sends a request through the layer to a [`Reached`] service.
pub async fn send(layer: &RateLimitLayer, request: Request<Body>) -> Response<String> {
    let response = layer
        .layer(Reached::default())
        .oneshot(request)
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Response status of each request, in order.
pub async fn statuses(
    layer: &RateLimitLayer,
    requests: impl IntoIterator<Item = Request<Body>>,
) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(send(layer, request).await.status().as_u16());
    }
    statuses
}
