//! Future of a limited request's response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    headers::HeaderStyle,
    layer_decision::LayerDecision,
    request_limiter::{PendingDecision, RequestLimiter},
    response_body::ResponseBody,
};

pin_project! {
    /// Response future of [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// The inner service responds: the request is allowed, or exempt and without a decision.
        Calling { #[pin] response: S::Future, decided: Option<(LayerDecision, HeaderStyle)> },
        /// The limiter has not decided yet.
        Pending { decision: PendingDecision, call: Option<Box<PendingCall<S, B>>> },
        /// The layer responds; the inner service is not called.
        Complete { response: Option<Box<Response<String>>> },
    }
}

/// Request that waits for the limiter's decision, and the service to call when it is allowed.
struct PendingCall<S, B> {
    request: Request<B>,
    ready: S,
    limiter: Arc<RequestLimiter>,
}

impl<S: Service<Request<B>>, B> PendingCall<S, B> {
    /// Calls the inner service or builds the refusal.
    fn proceed(mut self, decided: LayerDecision, extensions: Extensions) -> State<S, B> {
        *self.request.extensions_mut() = extensions;
        if decided.decision.is_allowed() {
            decided.insert_into(self.request.extensions_mut());
            return State::Calling {
                response: self.ready.call(self.request),
                decided: Some((decided, self.limiter.header_style)),
            };
        }
        let (head, _) = self.request.into_parts();
        State::Complete {
            response: Some(Box::new(self.limiter.refuse(&decided, &head))),
        }
    }
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) fn calling(
        response: S::Future,
        decided: Option<(LayerDecision, HeaderStyle)>,
    ) -> Self {
        ResponseFuture {
            state: State::Calling { response, decided },
        }
    }

    pub(super) fn pending(
        decision: PendingDecision,
        request: Request<B>,
        ready: S,
        limiter: Arc<RequestLimiter>,
    ) -> Self {
        let call = Some(Box::new(PendingCall {
            request,
            ready,
            limiter,
        }));
        ResponseFuture {
            state: State::Pending { decision, call },
        }
    }

    pub(super) fn complete(response: Response<String>) -> Self {
        ResponseFuture {
            state: State::Complete {
                response: Some(Box::new(response)),
            },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    #[expect(
        clippy::expect_used,
        reason = "a future must not be polled after completion"
    )]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { response, decided } => {
                    let mut response = ready!(response.poll(context))?;
                    if let Some((decided, style)) = decided {
                        style.write(&decided.decision, response.headers_mut());
                        decided.add_fallback_header(response.headers_mut());
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::from_service)));
                }
                StateProj::Pending { decision, call } => {
                    let (decided, extensions) = ready!(decision.as_mut().poll(context));
                    let next = call
                        .take()
                        .expect("decided once")
                        .proceed(decided, extensions);
                    state.set(next);
                }
                StateProj::Complete { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(response.map(ResponseBody::from_text)));
                }
            }
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Pending { .. } => "pending",
            State::Complete { .. } => "complete",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
