//! Service that checks the limit before it calls the inner service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    check_outcome::CheckOutcome, future::ResponseFuture, layer_decision::insert_into, no_key,
    request_limiter::RequestLimiter, response_body::ResponseBody,
};

/// Service with a rate limit, built by a [`RateLimitLayer`](super::RateLimitLayer).
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use tollgate::{Quota, tower::RateLimitLayer};
/// use tower::{Layer, service_fn};
///
/// let hello = service_fn(|_: Request<String>| async {
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// });
/// let limited = RateLimitLayer::per_ip(Quota::per_second(10)).layer(hello);
/// ```
///
/// It is ready when the inner service is, and a refused request does not consume that readiness.
#[derive(Debug)]
pub struct RateLimit<S, B = String> {
    inner: S,
    limiter: Arc<RequestLimiter<B>>,
}

impl<S, B> RateLimit<S, B> {
    pub(super) fn new(inner: S, limiter: Arc<RequestLimiter<B>>) -> RateLimit<S, B> {
        RateLimit { inner, limiter }
    }
}

impl<S: Clone, B> Clone for RateLimit<S, B> {
    fn clone(&self) -> Self {
        RateLimit {
            inner: self.inner.clone(),
            limiter: Arc::clone(&self.limiter),
        }
    }
}

impl<S, Q, R, B> Service<Request<Q>> for RateLimit<S, B>
where
    S: Service<Request<Q>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R, B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Q, R, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.limiter.check.check(&head, self.limiter.policy) {
            CheckOutcome::Exempt => {
                let response = self.inner.call(Request::from_parts(head, body));
                ResponseFuture::calling(response, None)
            }
            CheckOutcome::Decided(decision) => {
                self.limiter.check.observe(&decision);
                if decision.view.is_refused() {
                    return ResponseFuture::complete(self.limiter.refuse(&decision, &head));
                }
                insert_into(&mut head.extensions, decision.view);
                let response = self.inner.call(Request::from_parts(head, body));
                ResponseFuture::calling(response, Some((decision, self.limiter.header_style)))
            }
            CheckOutcome::Pending(decision) => {
                // Only the instance that was polled ready may be called; its clone must be polled
                // again.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::pending(
                    decision,
                    Request::from_parts(head, body),
                    ready,
                    Arc::clone(&self.limiter),
                )
            }
            CheckOutcome::NoKey(error) => ResponseFuture::complete(
                no_key::response(error, &head.headers).map(ResponseBody::from_text),
            ),
        }
    }
}
