//! Charge of a request: endpoint, client identity and price, or the outcome of a request that is not
//! charged.

use std::cell::OnceCell;

use hyper::{HeaderMap, Method, Request, StatusCode, body::Body};

use super::{
    cors::{add_cors, decides_by, preflight_outcome},
    credentials::{credential_limited, denial, unidentified},
    outcome::{Outcome, next_step, proxy_step},
    policies::{Priced, policy_charge, too_many_at_once},
};
use crate::{
    app::{App, Caller},
    endpoint::{self, Endpoint},
    handlers::{self, BodyHandler},
    limit::{Charge, PolicyCharge},
    metrics::{Credential, Reason},
    placement::{Placement, Port},
    proxy::Gateway,
    request::{
        access,
        address_lists::Listed,
        client_identifier::IdentifyError,
        method_override::{method_overrides, overrides_method},
        original::{self, OriginalRequest},
        path::PathError,
        validation,
    },
    response::{self, LimitHeaders, Response},
};

/// Charge of a request.
pub(super) enum Charged<'a> {
    /// To the default limit or to that of a route.
    One(Charge<'a>),
    Several(Box<PolicyCharge<'a>>),
}

/// Determines the charge of a request. An error is the outcome of a request that is not charged.
/// `canonical` stores the canonical spelling of an API key.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
#[inline]
pub(super) fn charge<'a, B: Body>(
    app: &'a App,
    request: &'a Request<B>,
    caller: &Caller,
    canonical: &'a OnceCell<String>,
) -> Result<Charged<'a>, Outcome> {
    let (method, path) = (request.method(), request.uri().path());
    let endpoint = match &app.gateway {
        _ if caller.port == Port::Admin => match Placement::on_admin_port(method, path) {
            Endpoint::NotFound => return Err(Outcome::respond(response::not_found())),
            endpoint => endpoint,
        },
        None => public_endpoint(app, method, path),
        Some(_) => match validation::validate(request, |name| decides_by(app, caller, name)) {
            Ok(()) => public_endpoint(app, method, path),
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
        | Endpoint::RemoveRule
        | Endpoint::UpdateLimit => {
            let access = (&app.admin_access, Credential::AdminToken);
            let outcome = match denial(app, access, caller, request) {
                Some(denial) => Outcome::respond(denial),
                None => admin_outcome(app, endpoint, path),
            };
            let status = outcome.response.status().as_u16();
            tracing::debug!(client = %caller.peer.address, %method, path = endpoint::logged_path(path), cost = 0, outcome = "admin", status, "request");
            Err(outcome)
        }
        Endpoint::Check => {
            let Some(access) = &app.check_access else {
                let client = app.clients.by_address(caller.peer, request.headers());
                let handler = BodyHandler::Check(Some(client.into_owned()));
                return Err(Outcome::read_body(handler));
            };
            let denial = denial(app, (access, Credential::CheckToken), caller, request);
            Err(denial.map_or_else(|| body_outcome(endpoint, path), Outcome::respond))
        }
        _ => client_charge(app, endpoint, request, caller, canonical).map_err(|mut outcome| {
            add_cors(app, request.headers(), &mut outcome);
            outcome
        }),
    }
}

/// Returns true if a loopback peer itself, and not a proxy on this machine, sent a request to `/health`
/// or to the admin API.
pub(crate) fn is_local_administration<B>(app: &App, request: &Request<B>, caller: &Caller) -> bool {
    let (method, path) = (request.method(), request.uri().path());
    let endpoint = match caller.port {
        Port::Admin => Some(Placement::on_admin_port(method, path)),
        Port::Public => app.placement.on_public_port(method, path),
    };
    endpoint.is_some_and(|own| own == Endpoint::Health || own.is_admin())
        && caller.peer.address.is_loopback()
        && !access::is_forwarded(request.headers())
}

/// Returns the endpoint of a request on the public port.
#[inline]
pub(super) fn public_endpoint(app: &App, method: &Method, path: &str) -> Endpoint {
    match &app.gateway {
        None => app
            .placement
            .on_public_port(method, path)
            .unwrap_or(Endpoint::NotFound),
        Some(gateway) => gateway_endpoint(app, gateway, method, path),
    }
}

/// Returns the endpoint of a request to a gateway: one of this server's own, or an upstream.
#[inline]
fn gateway_endpoint(app: &App, gateway: &Gateway, method: &Method, path: &str) -> Endpoint {
    // CONNECT would open a tunnel to a target of the client's choice, and TRACE would echo headers
    // that the client must not see. Some servers ignore the letter case of methods.
    let is_rejected = |rejected: &Method| method.as_str().eq_ignore_ascii_case(rejected.as_str());
    if let Some(own) = app.placement.on_public_port(method, path) {
        own
    } else if [Method::CONNECT, Method::TRACE].iter().any(is_rejected) {
        Endpoint::NotFound
    } else {
        gateway
            .select(path)
            .map_or(Endpoint::NotFound, Endpoint::Upstream)
    }
}

fn admin_outcome(app: &App, endpoint: Endpoint, path: &str) -> Outcome {
    match endpoint {
        Endpoint::GetConfig => Outcome::respond(handlers::admin::get_config(app)),
        _ => body_outcome(endpoint, app.placement.own_path(path).unwrap_or(path)),
    }
}

/// Outcome of an endpoint whose handler provides the whole response.
fn body_outcome(endpoint: Endpoint, path: &str) -> Outcome {
    Outcome {
        response: Response::default(),
        next: next_step(endpoint, path),
    }
}

/// Determines price and client of a request to a limited endpoint. An exempt request needs no
/// identity.
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
    canonical: &'a OnceCell<String>,
) -> Result<Charged<'a>, Outcome> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    let original = original_request(endpoint, headers, caller)?;
    let others = overriding_methods(app, endpoint, headers)?;
    let methods = (method, others.as_slice());
    let price = match &original {
        Some(original) => app.pricing.original_price(methods, path, original),
        None => app.pricing.price_of_all(methods, path, endpoint),
    };
    let price = price.map_err(|error| path_outcome(path, caller, error))?;
    let listed = match listed(app, caller, headers) {
        Ok(Listed::Denied) => {
            price.counters.add(Reason::Denied);
            tracing::debug!(peer = %caller.peer.address, %method, path = endpoint::logged_path(path), cost = 0, outcome = "Denied", "request");
            let message = "requests from this address are not accepted";
            let response = response::error(StatusCode::FORBIDDEN, message);
            return Err(Outcome::respond(response));
        }
        Ok(listed) => listed,
        Err(error) => return Err(Outcome::respond(unidentified(error, price.counters))),
    };
    // Without a charge, there are no limits to report.
    let forward = || {
        let limit_headers = LimitHeaders::default();
        proxy_step(app, endpoint, None, headers, caller, limit_headers)
    };
    let counters = price.counters;
    let count_exempt = || {
        counters.add(Reason::Exempt);
        tracing::debug!(client = %caller.peer.address, %method, path = endpoint::logged_path(path), cost = 0, outcome = "Exempt", "request");
    };
    if let Some(cors) = &app.cors
        && cors.is_preflight(
            original.as_ref().map_or(method, OriginalRequest::method),
            request,
        )
        // A browser sends none in a preflight.
        && !headers.keys().any(overrides_method)
    {
        count_exempt();
        return Err(preflight_outcome(cors, endpoint, headers, forward()));
    }
    let exempt_outcome = || {
        count_exempt();
        let (status, body) = handlers::demo::content(app, endpoint, headers, caller, None);
        Outcome {
            response: response::json(status, body),
            next: forward().unwrap_or_else(|| next_step(endpoint, path)),
        }
    };
    // Keys that are listed are needed for more than limits.
    if listed == Listed::Allowed
        && (!app.clients.has_key_list()
            || app
                .clients
                .identify(caller.peer, headers, canonical)
                .is_ok())
    {
        return Err(exempt_outcome());
    }
    if let Some(policies) = &app.policies {
        let priced = Priced {
            endpoint,
            others: &others,
            original: original.as_ref(),
            price,
        };
        let charge = policy_charge(app, policies, request, caller, canonical, priced)?;
        if charge.is_exempt() {
            let slots = charge.try_slots();
            let slots = slots.map_err(|error| too_many_at_once(app, endpoint, headers, &error))?;
            charge.try_shadows(&app.limiter);
            return Err(exempt_outcome().with_slots(slots));
        }
        return Ok(Charged::Several(charge));
    }
    let Some(fee) = price.fee else {
        return Err(exempt_outcome());
    };
    match app.clients.identify(caller.peer, headers, canonical) {
        Ok(client) => Ok(Charged::One(Charge::new(endpoint, client, fee, price))),
        Err(error) => {
            tracing::debug!(peer = %caller.peer.address, %method, path = endpoint::logged_path(path), cost = 0, outcome = ?error, "request");
            let limited = credential_limited(app, caller, headers, error);
            let response = unidentified(error, price.counters);
            Err(Outcome::respond(limited.unwrap_or(response)))
        }
    }
}

/// Returns the list that contains the address of a request's client.
pub(super) fn listed(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Listed, IdentifyError> {
    let Some(lists) = &app.lists else {
        return Ok(Listed::Neither);
    };
    let address = app.clients.limited_address(caller.peer, headers)?;
    // An embedded IPv4 address is that of an IPv4 client.
    let address = app.clients.limited_network(address, Some((32, 128)));
    Ok(lists.find(address))
}

/// Returns the methods as which the upstream, or the service behind `/auth`, may serve a request.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
#[inline]
pub(super) fn overriding_methods(
    app: &App,
    endpoint: Endpoint,
    headers: &HeaderMap,
) -> Result<Vec<Method>, Outcome> {
    let is_forwarded = matches!(endpoint, Endpoint::Upstream(_) | Endpoint::Auth);
    let depends_on_method = app.pricing.depends_on_method()
        || app
            .policies
            .as_ref()
            .is_some_and(|policies| policies.depends_on_method);
    if !is_forwarded || !depends_on_method {
        return Ok(Vec::new());
    }
    method_overrides(headers).map_err(|name| {
        let response = response::bad_request(name.as_str(), "expected at most 4 methods");
        Outcome::respond(response)
    })
}

/// Returns the original request behind `/auth` if a trusted proxy sent it.
#[allow(
    clippy::result_large_err,
    reason = "boxing would allocate on the hot path"
)]
fn original_request<'a>(
    endpoint: Endpoint,
    headers: &'a HeaderMap,
    caller: &Caller,
) -> Result<Option<OriginalRequest<'a>>, Outcome> {
    if endpoint != Endpoint::Auth {
        return Ok(None);
    }
    if !caller.peer.is_trusted() {
        original::warn_if_untrusted_proxy(caller.peer.address, headers);
        return Ok(None);
    }
    OriginalRequest::parse(headers).map(Some).map_err(|name| {
        let response = response::bad_request(name.as_str(), "expected one well-formed value");
        Outcome::respond(response)
    })
}

/// Outcome of a request whose route is uncertain.
#[cold]
fn path_outcome(path: &str, caller: &Caller, error: PathError) -> Outcome {
    tracing::debug!(peer = %caller.peer.address, path, cost = 0, outcome = "malformed", %error, "request");
    Outcome::respond(response::bad_request("path", &error.to_string()))
}
