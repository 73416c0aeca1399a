//! Processing of a request: endpoint, client identity, price, decision, then handler or upstream.

mod outcome;
#[cfg(test)]
mod tests;

use hyper::{HeaderMap, Method, Request, StatusCode, body::Body};

pub(crate) use self::outcome::{HeadResult, NextStep, Outcome};
use crate::{
    app::{App, Caller},
    endpoint::{self, Endpoint},
    handlers::{self, BodyHandler},
    limit::{Charge, LimitDecision, PendingCharge, Price},
    metrics::{Reason, RouteCounters},
    proxy::Gateway,
    request::{
        body::{self, BodyError},
        client_id::{ClientId, IdentifyError},
        original::{self, OriginalRequest},
        validation,
    },
    response::{self, LimitHeaders, Response},
};

/// Maximum number of bytes read after a refusal, so that the connection can be reused.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;

/// Request with a decision.
struct Decided<'a> {
    endpoint: Endpoint,
    client: ClientId<'a>,
    cost: u32,
    counters: &'a RouteCounters,
    decision: LimitDecision,
}

/// Processes a request head as far as possible without waiting.
#[inline]
pub(crate) fn process<B: Body>(app: &App, request: &Request<B>, caller: &Caller) -> HeadResult {
    let charge = match charge(app, request, caller) {
        Ok(charge) => charge,
        Err(outcome) => return HeadResult::Done(outcome),
    };
    match charge.try_acquire(&app.limiter, &app.metrics) {
        Some(decision) => {
            let decided = Decided {
                endpoint: charge.endpoint,
                client: charge.client,
                cost: charge.fee.cost,
                counters: charge.counters,
                decision,
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
    charge: PendingCharge,
) -> Outcome {
    let decision = charge.acquire(&app.limiter, &app.metrics).await;
    let decided = Decided {
        endpoint: charge.endpoint,
        client: charge.client(),
        cost: charge.cost(),
        counters: &charge.counters,
        decision,
    };
    decided_outcome(app, request, caller, &decided)
}

/// Reads the body and completes the response.
///
/// A body without a handler is read as well, so that the connection can be reused, unless the
/// client expects a `100 Continue` that it does not get.
pub(crate) async fn finish<B: Body + Unpin>(
    app: &App,
    outcome: Outcome,
    body: B,
    expects_continue: bool,
) -> (Response, Option<BodyError>) {
    let Outcome { response, next } = outcome;
    let handler = match next {
        NextStep::ReadBody(handler) => Some(handler),
        NextStep::Respond if expects_continue => return (response, None),
        NextStep::Respond | NextStep::Proxy(..) => None,
    };
    let limit = app.connection_limits.max_body_bytes;
    let (max_bytes, keep) = match &handler {
        Some(handler) => (handler.max_body_bytes(limit), handler.needs_data()),
        None if response.status().is_client_error() => (MAX_DRAINED_BYTES.min(limit), false),
        None => (limit, false),
    };
    let reading = body::read(body, max_bytes, keep);
    let result = tokio::time::timeout(app.connection_limits.body_timeout, reading)
        .await
        .unwrap_or(Err(BodyError::Timeout));
    match (result, handler) {
        (Ok(data), Some(handler)) => (handler.respond(app, response, &data).await, None),
        (Ok(_), None) => (response, None),
        (Err(error), _) => (response::closing(error.apply(response)), Some(error)),
    }
}

/// Determines the charge of a request. An error is the outcome of a request that is not charged.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
#[inline]
fn charge<'a, B: Body>(
    app: &'a App,
    request: &'a Request<B>,
    caller: &Caller,
) -> Result<Charge<'a>, Outcome> {
    let (method, path) = (request.method(), request.uri().path());
    let endpoint = match &app.gateway {
        None => Endpoint::of(method, path),
        Some(gateway) => match validation::validate(request) {
            Ok(()) => gateway_endpoint(gateway, method, path),
            Err(error) => {
                tracing::debug!(peer = %caller.peer.address, cost = 0, outcome = "malformed", error, "request");
                let response = response::error(StatusCode::BAD_REQUEST, error);
                return Err(Outcome::respond(response::closing(response)));
            }
        },
    };
    match endpoint {
        Endpoint::Health => {
            tracing::debug!(client = %caller.peer.address, %method, path, cost = 0, outcome = "health", "request");
            Err(Outcome::respond(handlers::health::response(app)))
        }
        Endpoint::Metrics
        | Endpoint::GetConfig
        | Endpoint::UpdateConfig
        | Endpoint::UpdateRule
        | Endpoint::RemoveRule => {
            let outcome = match app.admin_access.denial(caller.peer, request) {
                Some(denial) => Outcome::respond(denial),
                None => admin_outcome(app, endpoint, path),
            };
            let status = outcome.response.status().as_u16();
            tracing::debug!(client = %caller.peer.address, %method, path, cost = 0, outcome = "admin", status, "request");
            Err(outcome)
        }
        Endpoint::Check => {
            let access = app.check_access.as_ref();
            let denial = access.and_then(|access| access.denial(caller.peer, request));
            Err(denial.map_or_else(|| body_outcome(endpoint, path), Outcome::respond))
        }
        _ => client_charge(app, endpoint, request, caller),
    }
}

/// Returns the endpoint of a request to a gateway: one of this server's own, or an upstream.
#[inline]
fn gateway_endpoint(gateway: &Gateway, method: &Method, path: &str) -> Endpoint {
    match *method {
        _ if endpoint::is_reserved(path) => Endpoint::of(method, path),
        // CONNECT would open a tunnel to a target of the client's choice, and TRACE would echo
        // headers that the client must not see.
        Method::CONNECT | Method::TRACE => Endpoint::NotFound,
        _ => gateway
            .select(path)
            .map_or(Endpoint::NotFound, Endpoint::Upstream),
    }
}

fn admin_outcome(app: &App, endpoint: Endpoint, path: &str) -> Outcome {
    match endpoint {
        Endpoint::Metrics => Outcome::respond(handlers::metrics::response(app)),
        Endpoint::GetConfig => Outcome::respond(handlers::admin::get_config(app)),
        _ => body_outcome(endpoint, path),
    }
}

/// Outcome of an endpoint whose handler provides the whole response.
fn body_outcome(endpoint: Endpoint, path: &str) -> Outcome {
    Outcome {
        response: response::fixed(StatusCode::OK, ""),
        next: next_step(endpoint, path),
    }
}

#[inline]
fn next_step(endpoint: Endpoint, path: &str) -> NextStep {
    match endpoint {
        Endpoint::Upstream(index) => NextStep::Proxy(index, LimitHeaders::default()),
        _ => BodyHandler::of(endpoint, path).map_or(NextStep::Respond, NextStep::ReadBody),
    }
}

/// Determines client and price of a request to a limited endpoint.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
#[inline]
fn client_charge<'a, B: Body>(
    app: &'a App,
    endpoint: Endpoint,
    request: &'a Request<B>,
    caller: &Caller,
) -> Result<Charge<'a>, Outcome> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    let client = match app.clients.identify(caller.peer, headers) {
        Ok(client) => client,
        Err(error) => {
            tracing::debug!(peer = %caller.peer.address, %method, path, cost = 0, outcome = ?error, "request");
            let (reason, message) = match error {
                IdentifyError::MissingKey => (Reason::NoKey, "API key required"),
                IdentifyError::UnknownKey => (Reason::UnknownKey, "unknown API key"),
            };
            app.pricing
                .price(method, path, endpoint)
                .counters
                .add(reason);
            return Err(Outcome::respond(response::unauthorized_client(message)));
        }
    };
    let price = if endpoint == Endpoint::Auth {
        auth_price(app, method, path, headers, caller)?
    } else {
        app.pricing.price(method, path, endpoint)
    };
    let counters = price.counters;
    Charge::new(endpoint, client, price).ok_or_else(|| {
        counters.add(Reason::Exempt);
        tracing::debug!(client = %app.clients.redacted(client), %method, path, cost = 0, outcome = "Exempt", "request");
        let (status, body) = handlers::demo::content(app, endpoint, headers, caller, client);
        Outcome {
            response: response::json(status, body),
            next: next_step(endpoint, path),
        }
    })
}

/// Returns the price of a request to `/auth`: that of the original request if a trusted proxy sent
/// it.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
fn auth_price<'a>(
    app: &'a App,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Price<'a>, Outcome> {
    if !caller.peer.is_trusted() {
        original::warn_if_untrusted_proxy(caller.peer.address, headers);
        return Ok(app.pricing.price(method, path, Endpoint::Auth));
    }
    match OriginalRequest::parse(headers) {
        Ok(original) => Ok(app.pricing.original_price(method, path, &original)),
        Err(name) => Err(Outcome::respond(response::bad_request(
            name.as_str(),
            "expected one well-formed value",
        ))),
    }
}

/// Outcome of a request with a decision.
#[inline]
fn decided_outcome<B>(
    app: &App,
    request: &Request<B>,
    caller: &Caller,
    decided: &Decided<'_>,
) -> Outcome {
    let Decided {
        endpoint,
        client,
        cost,
        counters,
        decision,
    } = *decided;
    let (fallback, decision) = (decision.fallback(), decision.decision);
    counters.record(&decision);
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    tracing::debug!(
        client = %app.clients.redacted(client), %method, path, cost, outcome = ?decision.outcome(),
        remaining = decision.remaining(), fallback, "request"
    );
    let outcome = if decision.is_refused() {
        Outcome::respond(response::refused(app.header_style, &decision, headers))
    } else if let Endpoint::Upstream(index) = endpoint {
        let limit_headers = LimitHeaders::new(app.header_style, decision, fallback);
        return Outcome {
            response: Response::default(),
            next: NextStep::Proxy(index, limit_headers),
        };
    } else {
        let (status, body) = handlers::demo::content(app, endpoint, headers, caller, client);
        Outcome {
            response: response::limited(app.header_style, status, body, &decision),
            next: next_step(endpoint, path),
        }
    };
    match fallback {
        None => outcome,
        Some(policy) => Outcome {
            response: response::with_fallback(outcome.response, policy),
            ..outcome
        },
    }
}
