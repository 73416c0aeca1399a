//! Processing of a request: endpoint, client identity, price, decision, then handler or upstream.

mod charge;
mod cors;
mod credentials;
mod decided;
mod delay;
mod explain;
mod outcome;
mod policies;
#[cfg(test)]
mod tests;

use std::{
    cell::OnceCell,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use hyper::{Request, body::Body};
use tokio::time::timeout;

pub(crate) use self::{
    charge::is_local_administration,
    explain::{ExplainedLimit, explain},
    outcome::{HeadResult, NextStep, Outcome, ProxyStep},
};
use self::{
    charge::{Charged, charge},
    decided::{Decided, decided_outcome},
    delay::DelayedDecision,
};
use crate::{
    app::{App, Caller},
    handlers::HandlerResponse,
    limit::{PendingCharge, PolicyDecision},
    memory::ConnectionMemory,
    request::body::{self, BodyError},
    response::{self, Response},
};

/// Maximum number of bytes read after a refusal, so that the connection can be reused.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;

/// Processes a request head as far as possible without waiting.
#[inline]
pub(crate) fn process<B: Body>(app: &App, request: &Request<B>, caller: &Caller) -> HeadResult {
    let canonical = OnceCell::new();
    let charge = match charge(app, request, caller, &canonical) {
        Ok(charge) => charge,
        Err(outcome) => return HeadResult::Done(outcome),
    };
    let charge = match charge {
        Charged::One(charge) => charge,
        Charged::Several(charge) => return policies::process(app, request, caller, charge),
    };
    match charge.try_acquire(&app.limiter, &app.metrics, app.delay.as_deref()) {
        Some(decision) => {
            let decided = Decided {
                endpoint: charge.endpoint,
                client: charge.client,
                cost: charge.fee.cost,
                counters: charge.counters,
                acquired: PolicyDecision::of_one(decision, charge.policy()),
            };
            HeadResult::Done(decided_outcome(app, request, caller, &decided))
        }
        None => HeadResult::Pending(charge.into_pending()),
    }
}

/// Awaits the decision about a request. The request is only used for the response and the log:
/// client and price are those of the charge.
pub(crate) async fn resolve<B: Body>(
    app: &App,
    request: &Request<B>,
    caller: &Caller,
    mut charge: PendingCharge,
) -> Outcome {
    let slots = charge.take_slots();
    let delayed = match &app.delay {
        Some(delay) => Box::pin(delay::acquire(app, delay, request, caller, &charge)).await,
        None => DelayedDecision::at_once(charge.acquire(&app.limiter, &app.metrics).await),
    };
    let DelayedDecision { acquired, slot } = delayed;
    let decided = Decided {
        endpoint: charge.endpoint,
        client: charge.client(),
        cost: charge.cost(),
        counters: &charge.counters,
        acquired,
    };
    let mut outcome = decided_outcome(app, request, caller, &decided);
    if let NextStep::Proxy(step) = &mut outcome.next {
        step.slot = slot;
    }
    outcome.with_slots(slots)
}

/// Reads the body and completes the response. Returns it, and false if a part of the body is
/// unread.
///
/// A body without a handler is read as well, so that the connection can be reused, unless the
/// client `awaits_response` before it sends the body. A body that a handler needs counts against
/// `memory`.
pub(crate) async fn finish<B: Body + Unpin>(
    app: &App,
    outcome: Outcome,
    body: B,
    awaits_response: bool,
    memory: &Arc<ConnectionMemory>,
) -> (Response, bool) {
    let Outcome { response, next } = outcome;
    let handler = match next {
        NextStep::ReadBody(handler) => Some(handler),
        NextStep::Respond if awaits_response => return (response::closing(response), false),
        NextStep::Respond | NextStep::Proxy(..) => None,
    };
    let limit = app.connection_limits.max_body_bytes;
    let (max_bytes, keep) = match &handler {
        Some(handler) => (handler.max_body_bytes(limit), handler.needs_data()),
        None if !response.status().is_success() || response::is_grpc(&response) => {
            (MAX_DRAINED_BYTES.min(limit), false)
        }
        None => (limit, false),
    };
    let mut kept = keep.then(|| memory.reservation());
    let mut reading = pin!(body::read(body, max_bytes, kept.as_mut()));
    // Most bodies arrive with the head and need no timer.
    let result = match poll_once(reading.as_mut()).await {
        Some(result) => result,
        // Boxed to keep this future small.
        None => Box::pin(timeout(app.connection_limits.body_timeout, reading))
            .await
            .unwrap_or(Err(BodyError::Timeout)),
    };
    match (result, handler) {
        (Ok(data), Some(handler)) => match handler.respond(app, response, &data) {
            HandlerResponse::Ready(response) => (response, true),
            HandlerResponse::Pending(response) => (response.await, true),
        },
        (Ok(_), None) => (response, true),
        (Err(error), _) => (response::closing(error.apply(response)), false),
    }
}

/// Polls a future once. Returns `None` if it is not ready.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
