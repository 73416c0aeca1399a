//! Explanation of the limits of a request, without taking tokens.

use std::{cell::OnceCell, fmt};

use hyper::Request;
use tollgate::Quota;

use super::{
    charge::{listed, overriding_methods, public_endpoint},
    credentials::status_of,
    policies::with_limit_request,
};
use crate::{
    app::{App, Caller},
    endpoint::Endpoint,
    limit::{Effect, Explained, Explanation, TooManyLimits},
    request::{address_lists::Listed, client_identifier::IdentifyError},
    values::PolicyName,
};

/// A line of the explanation: what one limit does to the request.
pub(crate) struct ExplainedLimit {
    pub(crate) name: String,
    pub(crate) quota: String,
    pub(crate) key: String,
    /// Empty when no tokens are taken.
    pub(crate) cost: String,
    pub(crate) effect: String,
}

/// Returns what each limit does to a request on the public port.
///
/// # Errors
/// The reason that no limit decides: one line.
pub(crate) fn explain<B>(
    app: &App,
    request: &Request<B>,
    caller: &Caller,
) -> Result<Vec<ExplainedLimit>, String> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    let endpoint = public_endpoint(app, method, path);
    if endpoint.is_admin() || matches!(endpoint, Endpoint::Health | Endpoint::Check) {
        return Err(format!("{path} belongs to this server and is not limited"));
    }
    let others = overriding_methods(app, endpoint, headers)
        .map_err(|_| "400: too many methods in the headers that override it".to_owned())?;
    let canonical = OnceCell::new();
    let client = app.clients.identify(caller.peer, headers, &canonical);
    let rejected = |error: IdentifyError| {
        let (status, message) = status_of(error);
        format!("{}: {message}", status.as_u16())
    };
    match listed(app, caller, headers) {
        Ok(Listed::Neither) => {}
        Ok(Listed::Denied) => return Err("403: the address is in the list deny".to_owned()),
        // Keys that are listed are needed for more than limits.
        Ok(Listed::Allowed) if client.is_err() && app.clients.has_key_list() => {}
        Ok(Listed::Allowed) => {
            return Err("not limited: the address is in the list allow".to_owned());
        }
        Err(error) => return Err(rejected(error)),
    }
    let malformed = |error: &dyn fmt::Display| format!("400: path: {error}");
    let price = app.pricing.price_of_all((method, &others), path, endpoint);
    let price = price.map_err(|error| malformed(&error))?;
    let (mut explained, mut with_default) = (Explained::default(), true);
    if let Some(policies) = &app.policies {
        with_default = policies.default_counters.is_some();
        explained =
            with_limit_request(app, policies, request, caller, (&others, None), |limited| {
                policies.explain(limited, &app.clients)
            })
            .map_err(|error| malformed(&error))?;
    }
    let fees = price.fee.into_iter().chain(price.more);
    let fees = fees.filter(|fee| fee.own.is_some() || with_default);
    let fees: Vec<_> = fees.collect();
    if let Err(error) = client {
        let with_default = explained.replaces_default.is_none();
        let is_charged = fees.iter().any(|fee| fee.own.is_some() || with_default);
        let has_default = fees.iter().any(|fee| fee.own.is_none()) && with_default;
        let mut effects = explained.limits.iter().map(|limit| &limit.effect);
        let applies = is_charged || effects.any(|effect| *effect == Effect::Applies);
        let is_needed = has_default || app.clients.has_key_list() && applies;
        // A limit whose key is missing has rejected the request before.
        if is_needed && explained.rejects.is_none() {
            return Err(rejected(error));
        }
    }
    let is_replaced = explained.replaces_default.is_some();
    let charged = fees.iter().filter(|fee| fee.own.is_some() || !is_replaced);
    if explained.rejects.is_none() && explained.is_above_maximum(charged.count()) {
        return Err(malformed(&TooManyLimits));
    }
    let of_fees = fees.iter().map(|fee| {
        let replacing = explained.replaces_default.filter(|_| fee.own.is_none());
        let limiter = fee.own.map_or(&*app.limiter, |own| &own.limiter);
        let (mut quota, mut key) = (limiter.quota(), String::new());
        if let Ok(client) = &client {
            quota = limiter.quota_of(client);
            key = client.name().into_owned();
        }
        ExplainedLimit {
            name: fee
                .own
                .map_or(PolicyName::DEFAULT, |own| &own.policy)
                .to_owned(),
            key,
            cost: match (replacing, explained.rejects) {
                (None, None) => fee.cost.to_string(),
                _ => String::new(),
            },
            effect: match (replacing, explained.rejects) {
                (Some(other), _) => format!("no: replaced by {other}"),
                (None, Some(other)) => format!("no: {other} rejects the request"),
                _ if fee.own.is_some() => "applies: the route matches".to_owned(),
                _ if quota != limiter.quota() => {
                    "applies: the default limit, by the rule of this client".to_owned()
                }
                _ => "applies: the default limit".to_owned(),
            },
            quota: quota.to_string(),
        }
    });
    let mut lines: Vec<_> = of_fees.collect();
    lines.extend(explained.limits.iter().flat_map(lines_of));
    Ok(lines)
}

/// Returns a line for each quota of a limit.
fn lines_of<'a>(explained: &'a Explanation<'_>) -> impl Iterator<Item = ExplainedLimit> + 'a {
    let takes = matches!(explained.effect, Effect::Applies | Effect::Shadow);
    let of_concurrency = explained.limit.concurrency.map(|max| ExplainedLimit {
        name: explained.limit.name.clone(),
        quota: format!("{max} at once"),
        key: explained.keys.join(", "),
        cost: String::new(),
        effect: explained.to_string(),
    });
    let quotas = explained.limit.quotas.iter();
    let of_quotas = quotas.map(move |(name, quota): &(String, Quota)| ExplainedLimit {
        name: name.clone(),
        quota: quota.to_string(),
        key: explained.keys.join(", "),
        cost: if takes {
            explained.cost.to_string()
        } else {
            String::new()
        },
        effect: explained.to_string(),
    });
    of_quotas.chain(of_concurrency)
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Applies => f.write_str("applies"),
            Effect::Shadow => f.write_str("applies, but refuses nothing: shadow"),
            Effect::OtherHeader(condition) => write!(f, "no: the request has no {condition}"),
            Effect::NoPattern => {
                let patterns = self.limit.patterns.iter().map(|pattern| pattern.text());
                let patterns = patterns.collect::<Vec<_>>().join(", ");
                write!(f, "no: matches {patterns} only")
            }
            Effect::CostsNothing => f.write_str("no: the request costs nothing"),
            Effect::Rejected => f.write_str("401: the request has no valid key"),
            Effect::Conflicting => {
                let (status, message) = status_of(IdentifyError::ConflictingHeaders);
                write!(f, "{}: {message}", status.as_u16())
            }
            Effect::Skipped => f.write_str("no: the request has no key"),
            Effect::Replaced(other) => write!(f, "no: replaced by {other}"),
            Effect::RejectedBy(other) => write!(f, "no: {other} rejects the request"),
        }
    }
}
