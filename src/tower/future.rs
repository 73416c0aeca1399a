//! The future of an answer, the service's or the gate's own.

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
    body::ResponseBody,
    decided::Decided,
    gate::{Deciding, Gate},
    headers::HeaderStyle,
};
pin_project! {
    /// What [`RateLimit`](super::RateLimit) answers with.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = Now]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// It may pass, or is exempt.
        Calling { #[pin] answer: S::Future, told: Option<(Decided, HeaderStyle)> },
        Deciding { decision: Deciding, waiting: Option<Box<Waiting<S, B>>> },
        /// The service is not called.
        Answered { answer: Option<Box<Response<String>>> },
    }
}

/// What goes on once it is decided.
struct Waiting<S, B> {
    request: Request<B>,
    ready: S,
    gate: Arc<Gate>,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) fn calling(answer: S::Future, told: Option<(Decided, HeaderStyle)>) -> Self {
        ResponseFuture {
            state: State::Calling { answer, told },
        }
    }

    pub(super) fn deciding(
        decision: Deciding,
        request: Request<B>,
        ready: S,
        gate: Arc<Gate>,
    ) -> Self {
        let waiting = Some(Box::new(Waiting {
            request,
            ready,
            gate,
        }));
        ResponseFuture {
            state: State::Deciding { decision, waiting },
        }
    }

    pub(super) fn answered(answer: Response<String>) -> Self {
        ResponseFuture {
            state: State::Answered {
                answer: Some(Box::new(answer)),
            },
        }
    }
}

impl<S: Service<Request<B>>, B> Waiting<S, B> {
    fn decided(mut self, decided: Decided, extensions: Extensions) -> State<S, B> {
        *self.request.extensions_mut() = extensions;
        if decided.decision.is_allowed() {
            decided.tell(self.request.extensions_mut());
            return State::Calling {
                answer: self.ready.call(self.request),
                told: Some((decided, self.gate.headers)),
            };
        }
        let (head, _) = self.request.into_parts();
        State::Answered {
            answer: Some(Box::new(self.gate.refuse(&decided, &head))),
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
        reason = "a future must not be polled behind its end"
    )]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                Now::Calling { answer, told } => {
                    let mut answer = ready!(answer.poll(context))?;
                    if let Some((decided, headers)) = told {
                        headers.write(&decided.decision, answer.headers_mut());
                        decided.warn(answer.headers_mut());
                    }
                    return Poll::Ready(Ok(answer.map(ResponseBody::of_service)));
                }
                Now::Deciding { decision, waiting } => {
                    let (decided, extensions) = ready!(decision.as_mut().poll(context));
                    let next = waiting
                        .take()
                        .expect("decided once")
                        .decided(decided, extensions);
                    state.set(next);
                }
                Now::Answered { answer } => {
                    let answer = answer.take().expect("answered once");
                    return Poll::Ready(Ok(answer.map(ResponseBody::of_gate)));
                }
            }
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Deciding { .. } => "deciding",
            State::Answered { .. } => "answered",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
