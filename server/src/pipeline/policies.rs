//! Requests under several limits.

use std::cell::OnceCell;

use hyper::{HeaderMap, Method, Request};

use super::{
    cors::add_cors,
    credentials::{credential_limited, token_limited, unidentified, without_limit_key},
    decided::{Decided, decided_outcome, refusal_at},
    outcome::{HeadResult, Outcome},
};
use crate::{
    app::{App, Caller},
    endpoint::{self, Endpoint},
    limit::{ApplyError, NamedLimit, Policies, PolicyCharge, Price, TooManyAtOnce},
    metrics::Reason,
    request::{
        client_identifier::IdentifyError,
        jwt::TokenError,
        limit_request::LimitRequest,
        original::OriginalRequest,
        path::{ParsedPath, PathError},
    },
    response,
};

/// What is known of a request before its limits.
pub(super) struct Priced<'a, 'r> {
    pub(super) endpoint: Endpoint,
    /// Methods as which the upstream may serve the request, besides its own.
    pub(super) others: &'r [Method],
    /// The original request behind `/auth`.
    pub(super) original: Option<&'r OriginalRequest<'a>>,
    /// Of the default limit and of routes.
    pub(super) price: Price<'a>,
}

/// Determines the limits of a request. An error is the outcome of a request that is not charged.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
pub(super) fn policy_charge<'a, B>(
    app: &'a App,
    policies: &'a Policies,
    request: &'a Request<B>,
    caller: &Caller,
    canonical: &'a OnceCell<String>,
    priced: Priced<'a, '_>,
) -> Result<Box<PolicyCharge<'a>>, Outcome> {
    let Priced {
        endpoint,
        others,
        original,
        price,
    } = priced;
    let (own_method, own_path, headers) =
        (request.method(), request.uri().path(), request.headers());
    let rejected = |message: &str| {
        let path = endpoint::logged_path(own_path);
        tracing::debug!(peer = %caller.peer.address, path, cost = 0, outcome = "malformed", message, "request");
        Outcome::respond(response::bad_request("path", message))
    };
    let counters = price.counters;
    let missing = |error: IdentifyError, of_limit: Option<(&NamedLimit, Option<TokenError>)>| {
        tracing::debug!(peer = %caller.peer.address, method = %own_method, path = endpoint::logged_path(own_path), cost = 0, outcome = ?error, "request");
        let limited = match of_limit {
            Some((_, token)) => token_limited(app, caller, headers, token),
            None => credential_limited(app, caller, headers, error),
        };
        Outcome::respond(limited.unwrap_or_else(|| match of_limit {
            Some((limit, token)) => {
                counters.add(Reason::NoKey);
                without_limit_key(app, limit, token)
            }
            None => unidentified(error, counters),
        }))
    };
    // An outcome is large, and is made only once it is needed.
    let applying = |limited: &LimitRequest<'a, '_>| policies.apply(limited, &app.clients);
    let applied = with_limit_request(app, policies, request, caller, (others, original), applying);
    let applied = match applied {
        Ok(Ok(applied)) => applied,
        Ok(Err(ApplyError::MissingKey(limit, token))) => {
            return Err(missing(IdentifyError::MissingKey, Some((limit, token))));
        }
        Ok(Err(ApplyError::ConflictingHeaders)) => {
            return Err(missing(IdentifyError::ConflictingHeaders, None));
        }
        Err(error) => return Err(rejected(&error.to_string())),
    };
    let client = app.clients.identify(caller.peer, headers, canonical);
    let by_address = || app.clients.by_address(caller.peer, headers);
    let identified = client.unwrap_or_else(|_| by_address());
    let default_counters = policies.default_counters.as_ref();
    let default = (default_counters, app.max_wait().unwrap_or_default());
    let charge = match PolicyCharge::new(endpoint, identified, price, applied, default) {
        Ok(charge) => charge,
        Err(error) => return Err(rejected(&error.to_string())),
    };
    match client {
        // Without the default limit, only a list of keys makes a key necessary.
        Err(error)
            if charge.has_default() || app.clients.has_key_list() && !charge.is_unlimited() =>
        {
            Err(missing(error, None))
        }
        _ => Ok(charge),
    }
}

/// Calls a function with a request as limits see it: with the methods as which the upstream may serve
/// it, besides its own, and with the original request behind `/auth`.
pub(super) fn with_limit_request<'a, B, T>(
    app: &'a App,
    policies: &Policies,
    request: &'a Request<B>,
    caller: &Caller,
    (others, original): (&[Method], Option<&OriginalRequest<'a>>),
    then: impl FnOnce(&LimitRequest<'a, '_>) -> T,
) -> Result<T, PathError> {
    let given: &[Method] = original.map_or(&[], |original| &original.methods);
    let methods = given
        .iter()
        .chain(given.is_empty().then_some(request.method()));
    let methods = methods.chain(others);
    let given = original.map_or(&[][..], |original| &original.paths);
    let paths = given.iter().map(|path| &**path);
    let paths = paths.chain(given.is_empty().then_some(request.uri().path()));
    let paths: Result<Vec<_>, PathError> = paths
        .filter(|_| policies.depends_on_path)
        .map(ParsedPath::parse)
        .collect();
    let paths = paths?;
    let query = match original {
        Some(original) if !original.paths.is_empty() => original.query(),
        _ => request.uri().query(),
    };
    let headers = request.headers();
    let client = app.clients.limited_address(caller.peer, headers);
    let limited = LimitRequest::new(methods.collect(), &paths, query, headers, client)?;
    Ok(then(&limited.with_jwt(app.jwt.as_deref())))
}

/// Outcome of a request of a client that holds all slots of a limit.
pub(super) fn too_many_at_once(
    app: &App,
    endpoint: Endpoint,
    headers: &HeaderMap,
    error: &TooManyAtOnce<'_>,
) -> Outcome {
    let refusal = refusal_at(app, endpoint);
    let response = app.refusals.too_many_at_once(error, refusal, headers);
    let mut outcome = Outcome::respond(response);
    add_cors(app, headers, &mut outcome);
    outcome
}

/// Decides about a request without waiting, as far as possible.
pub(super) fn process<B>(
    app: &App,
    request: &Request<B>,
    caller: &Caller,
    charge: Box<PolicyCharge<'_>>,
) -> HeadResult {
    let slots = match charge.try_slots() {
        Ok(slots) => slots,
        Err(error) => {
            let (endpoint, headers) = (charge.endpoint, request.headers());
            return HeadResult::Done(too_many_at_once(app, endpoint, headers, &error));
        }
    };
    if let Some(acquired) = charge.try_acquire(&app.limiter, &app.metrics) {
        let decided = Decided {
            endpoint: charge.endpoint,
            client: charge.client,
            cost: charge.cost(),
            counters: charge.counters,
            acquired,
        };
        let outcome = decided_outcome(app, request, caller, &decided);
        return HeadResult::Done(outcome.with_slots(slots));
    }
    match charge.into_pending(slots) {
        Some(charge) => HeadResult::Pending(charge),
        // A request without a part is exempt, and has been answered.
        None => HeadResult::Done(Outcome::respond(response::not_found())),
    }
}
