//! Service that checks the limit before it calls the inner service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    future::ResponseFuture,
    no_key,
    request_limiter::{CheckOutcome, RequestLimiter},
    response_body::ResponseBody,
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
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limiter: Arc<RequestLimiter>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, limiter: Arc<RequestLimiter>) -> RateLimit<S> {
        RateLimit { inner, limiter }
    }
}

impl<S, B, R> Service<Request<B>> for RateLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        let (mut head, body) = request.into_parts();
        match self.limiter.check(&mut head) {
            CheckOutcome::Exempt => {
                let response = self.inner.call(Request::from_parts(head, body));
                ResponseFuture::calling(response, None)
            }
            CheckOutcome::Decided(decided) if decided.decision.is_allowed() => {
                decided.insert_into(&mut head.extensions);
                let response = self.inner.call(Request::from_parts(head, body));
                ResponseFuture::calling(response, Some((decided, self.limiter.header_style)))
            }
            CheckOutcome::Decided(decided) => {
                ResponseFuture::complete(self.limiter.refuse(&decided, &head))
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
            CheckOutcome::NoKey(error) => {
                ResponseFuture::complete(no_key::response(error, &head.headers))
            }
        }
    }
}
