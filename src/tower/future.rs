//! Future of a limited request's response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    check_outcome::Pending,
    headers::HeaderStyle,
    layer_decision::{LayerDecision, add_fallback_header, insert_into},
    request_limiter::RequestLimiter,
    response_body::ResponseBody,
};
pin_project! {
    /// Response future of [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Q, R, B = String>
    where
        S: Service<Request<Q>>,
    {
        #[pin]
        state: State<S, Q, R, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Q, R, B>
    where
        S: Service<Request<Q>>,
    {
        /// The inner service responds: the request is allowed, or exempt and without a decision.
        Calling { #[pin] response: S::Future, decided: Option<(LayerDecision, HeaderStyle)> },
        /// The limiter has not decided yet.
        Pending { decision: Pending<LayerDecision>, call: Option<Box<PendingCall<S, Q, B>>> },
        /// The layer responds; the inner service is not called.
        Complete { response: Option<Box<Response<ResponseBody<R, B>>>> },
    }
}

/// Request that waits for the limiter's decision, and the service to call when it is allowed.
struct PendingCall<S, Q, B> {
    request: Request<Q>,
    ready: S,
    limiter: Arc<RequestLimiter<B>>,
}

impl<S: Service<Request<Q>>, Q, B> PendingCall<S, Q, B> {
    /// Calls the inner service or builds the refusal.
    fn proceed<R>(mut self, decision: LayerDecision) -> State<S, Q, R, B> {
        self.limiter.check.observe(&decision);
        if decision.view.is_allowed() {
            insert_into(self.request.extensions_mut(), decision.view);
            return State::Calling {
                response: self.ready.call(self.request),
                decided: Some((decision, self.limiter.header_style)),
            };
        }
        let (head, _) = self.request.into_parts();
        State::Complete {
            response: Some(Box::new(self.limiter.refuse(&decision, &head))),
        }
    }
}

impl<S: Service<Request<Q>>, Q, R, B> ResponseFuture<S, Q, R, B> {
    pub(super) fn calling(
        response: S::Future,
        decided: Option<(LayerDecision, HeaderStyle)>,
    ) -> Self {
        ResponseFuture {
            state: State::Calling { response, decided },
        }
    }

    pub(super) fn pending(
        decision: Pending<LayerDecision>,
        request: Request<Q>,
        ready: S,
        limiter: Arc<RequestLimiter<B>>,
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

    pub(super) fn complete(response: Response<ResponseBody<R, B>>) -> Self {
        ResponseFuture {
            state: State::Complete {
                response: Some(Box::new(response)),
            },
        }
    }
}

impl<S, Q, R, B> Future for ResponseFuture<S, Q, R, B>
where
    S: Service<Request<Q>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R, B>>, S::Error>;

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
                    if let Some((decision, style)) = decided {
                        let headers = response.headers_mut();
                        decision.headers(*style).write(&decision.view, headers);
                        add_fallback_header(&decision.view, headers);
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::from_service)));
                }
                StateProj::Pending { decision, call } => {
                    let decision = ready!(decision.as_mut().poll(context));
                    let next = call.take().expect("decided once").proceed(decision);
                    state.set(next);
                }
                StateProj::Complete { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(*response));
                }
            }
        }
    }
}

impl<S: Service<Request<Q>>, Q, R, B> fmt::Debug for ResponseFuture<S, Q, R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Pending { .. } => "pending",
            State::Complete { .. } => "complete",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
