//! The service: asks the gate, and calls what is behind it, or not.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    body::ResponseBody,
    future::ResponseFuture,
    gate::{Gate, Verdict},
};

/// A service with a limit in front of it, made by a [`RateLimitLayer`](super::RateLimitLayer).
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use tollgate::{Quota, tower::RateLimitLayer};
/// use tower::{Layer, service_fn};
///
/// let hello = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new("hello".to_owned())) });
/// let limited = RateLimitLayer::per_ip(Quota::per_second(10)).layer(hello);
/// ```
///
/// It is ready when the service behind it is, and a refused request does not use that readiness up.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>) -> RateLimit<S> {
        RateLimit { inner, gate }
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
        match self.gate.ask(&mut head) {
            Verdict::Exempt => {
                ResponseFuture::calling(self.inner.call(Request::from_parts(head, body)), None)
            }
            Verdict::Decided(decided) if decided.decision.is_allowed() => {
                decided.tell(&mut head.extensions);
                let answer = self.inner.call(Request::from_parts(head, body));
                ResponseFuture::calling(answer, Some((decided, self.gate.headers)))
            }
            Verdict::Decided(decided) => {
                ResponseFuture::answered(self.gate.refuse(&decided, &head))
            }
            Verdict::Deciding(decision) => {
                // The service that was polled ready is the one that may be called; its clone has to
                // be polled anew.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::deciding(
                    decision,
                    Request::from_parts(head, body),
                    ready,
                    Arc::clone(&self.gate),
                )
            }
            Verdict::Missing(missing) => ResponseFuture::answered(Gate::missing(missing, &head)),
        }
    }
}
