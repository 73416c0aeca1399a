//! Response to a request with a decision, or the step that gets it from the upstream.

use hyper::Request;
use tollgate::tower::Refusal;

use super::{
    cors::add_cors,
    outcome::{Outcome, next_step, proxy_step},
};
use crate::{
    app::{App, Caller},
    endpoint::{self, Endpoint},
    handlers,
    limit::PolicyDecision,
    metrics::RouteCounters,
    request::client_id::ClientId,
    response::{self, LimitHeaders, Response},
};

/// Request with a decision.
pub(super) struct Decided<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) client: ClientId<'a>,
    pub(super) cost: u32,
    pub(super) counters: &'a RouteCounters,
    pub(super) acquired: PolicyDecision<'a>,
}

/// Returns the builder of refusals at an endpoint.
pub(super) fn refusal_at(app: &App, endpoint: Endpoint) -> Refusal<'static> {
    let refusal = Refusal::new(app.header_style);
    match endpoint {
        Endpoint::Upstream(_) => refusal,
        // A proxy that calls `/auth` expects a status of HTTP.
        _ => refusal.http_only(),
    }
}

/// Outcome of a request with a decision.
#[inline]
pub(super) fn decided_outcome<B>(
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
        acquired,
    } = decided;
    let (endpoint, client, cost) = (*endpoint, *client, *cost);
    let (decision, policy) = (&acquired.decision, acquired.policy);
    let all: Vec<_> = acquired
        .all
        .iter()
        .map(|(policy, view)| (response::policy_name(*policy), *view))
        .collect();
    let fallback = decision.source().without_redis();
    counters.record(decision);
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    tracing::debug!(
        client = %app.clients.redacted(client), %method, path = endpoint::logged_path(path), cost, outcome = ?decision.outcome(),
        remaining = decision.remaining(), fallback, "request"
    );
    let mut outcome = if decision.is_refused() {
        let policy = response::policy_name(policy);
        let refusal = refusal_at(app, endpoint).policy(policy).among(&all);
        Outcome::respond(match endpoint {
            // The client of `/check` is a service that reads the usual response.
            Endpoint::Check => response::refused(refusal, decision, headers),
            _ => app.refusals.refused(policy, refusal, decision, headers),
        })
    } else if matches!(endpoint, Endpoint::Upstream(_))
        && let limit_headers = LimitHeaders::new(app.header_style, acquired, fallback)
        && let Some(next) = proxy_step(app, endpoint, Some(client), headers, caller, limit_headers)
    {
        let mut outcome = Outcome {
            response: Response::default(),
            next,
        };
        add_cors(app, headers, &mut outcome);
        return outcome;
    } else {
        let (status, body) = handlers::demo::content(app, endpoint, headers, caller, Some(client));
        let headers_of_policy = app.header_style.for_policy(response::policy_name(policy));
        let headers_of_policy = headers_of_policy.among(&all);
        Outcome {
            response: response::limited(headers_of_policy, status, body, decision),
            next: next_step(endpoint, path),
        }
    };
    if let Some(policy) = fallback {
        response::add_fallback(&mut outcome.response, policy);
    }
    add_cors(app, headers, &mut outcome);
    outcome
}
