//! The admin API: who may use it, and what it changes.
//!
//! With a token, whoever has it. Without one, whoever sits at this machine: a loopback peer whose
//! request came straight from it. A web page in a browser on this machine sits there too, so what a
//! browser adds on its own ends the request as well: an `Origin`, or a `Host` that is somebody's
//! domain (DNS rebinding).

use std::net::IpAddr;

use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, VIA},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tollgate::{Quota, RedisError};

use crate::{
    answer::{self, Answer},
    app::{App, percent_decoded},
    client::{Peer, sole},
    json::{self, bad},
    limits::{NewDefault, NotChanged, Shown},
    values::{Rate, Secret, Table, Tokens, Typed, present},
};

/// Who may use the admin API, or something else that is not for everybody.
#[derive(Debug)]
pub(crate) struct Access {
    /// What it is called in refusals.
    what: &'static str,
    /// Whoever has one of them may. Without any, this machine may.
    tokens: Vec<Secret>,
}

impl Access {
    pub(crate) fn new(what: &'static str, tokens: impl IntoIterator<Item = Secret>) -> Access {
        Access {
            what,
            tokens: tokens.into_iter().collect(),
        }
    }

    /// The answer to who may not.
    pub(crate) fn refusal<B>(&self, peer: Peer, request: &Request<B>) -> Option<Answer> {
        let headers = request.headers();
        if !self.tokens.is_empty() {
            return (!self.tokens.iter().any(|token| bears(headers, token)))
                .then(|| answer::unauthorized(self.what));
        }
        let missing = if !peer.address.is_loopback() {
            "to this machine alone, or to a token"
        } else if was_forwarded(headers) {
            "to direct requests alone, or to a token"
        } else if headers.contains_key(ORIGIN) || !names_this_machine(headers, request.uri()) {
            "to no web page without a token"
        } else {
            return None;
        };
        Some(answer::error(
            StatusCode::FORBIDDEN,
            &format!("{} answers {missing}", self.what),
        ))
    }
}

/// Compared in constant time, but for the length.
fn bears(headers: &HeaderMap, Secret(token): &Secret) -> bool {
    let Some((scheme, given)) =
        sole(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case("Bearer") && given.as_bytes().ct_eq(token.as_bytes()).into()
}

fn was_forwarded(headers: &HeaderMap) -> bool {
    const NAMES: [HeaderName; 3] = [
        HeaderName::from_static("forwarded"),
        HeaderName::from_static("x-real-ip"),
        HeaderName::from_static("x-client-ip"),
    ];
    let forwards = |name: &HeaderName| {
        NAMES.contains(name) || *name == VIA || name.as_str().starts_with("x-forwarded")
    };
    headers.keys().any(forwards)
}

/// Whether the request was sent to an IP address or to localhost. A name of any other kind may be
/// an attacker's.
fn names_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = match (uri.authority(), headers.get(HOST)) {
        (Some(authority), _) => Some(authority.host().to_owned()),
        (None, Some(value)) => value
            .to_str()
            .ok()
            .and_then(|value| value.parse::<Uri>().ok()?.host().map(str::to_owned)),
        (None, None) => return true,
    };
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
    })
}

/// `POST /config`
pub(crate) async fn change_default(app: &App, body: &[u8]) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        #[serde(default, deserialize_with = "present")]
        capacity: Option<Typed<Tokens>>,
        #[serde(default, deserialize_with = "present")]
        refill_rate: Option<Typed<Rate>>,
    }
    let change = match json::read(body) {
        Ok(Table(Change {
            capacity: None,
            refill_rate: None,
        })) => {
            return bad("capacity", "missing, and refill_rate as well");
        }
        Ok(Table(Change {
            capacity,
            refill_rate,
        })) => NewDefault {
            capacity: capacity.map(|tokens| tokens.0.0),
            refill_rate: refill_rate.map(|rate| rate.0.0),
        },
        Err(fault) => return fault.answer(),
    };
    match app.limits.replace(change).await {
        Ok(in_force) => answer::value(StatusCode::OK, &in_force.and(&app.routes)),
        // Only a capacity can fail to fit: of an interval, which must not give back more than 10⁹
        // tokens a second.
        Err(error) => not_changed("capacity", &error),
    }
}

/// What is in force for one client.
#[derive(Serialize)]
struct ForClient {
    client_id: String,
    #[serde(flatten)]
    limits: Shown,
}

/// `POST /admin/update-rule`
pub(crate) async fn change_rule(app: &App, body: &[u8]) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        client_id: String,
        capacity: Typed<Tokens>,
        refill_rate: Typed<Rate>,
    }
    let Rule {
        client_id,
        capacity: Typed(Tokens(capacity)),
        refill_rate: Typed(Rate(rate)),
    } = match json::read(body) {
        Ok(Table(rule)) => rule,
        Err(fault) => return fault.answer(),
    };
    let id = match app.client_named(&client_id) {
        Ok(id) => id,
        Err(error) => return bad("client_id", &error),
    };
    let quota = match Quota::from_rate(capacity, rate) {
        Ok(quota) => quota,
        Err(error) => return bad("refill_rate", &error.to_string()),
    };
    match app.limits.set_rule(&id, quota).await {
        Ok(limits) => {
            tracing::info!(client = %app.shown(id), %quota, "a client's own limit was set");
            answer::value(
                StatusCode::OK,
                &ForClient {
                    client_id: id.name().into_owned(),
                    limits,
                },
            )
        }
        Err(error) => not_changed("client_id", &error),
    }
}

/// `DELETE /admin/rule/{client_id}`
pub(crate) async fn remove_rule(app: &App, encoded: &str) -> Answer {
    let Some(client_id) = percent_decoded(encoded) else {
        return bad("client_id", "expected UTF-8, percent-encoded");
    };
    let id = match app.client_named(&client_id) {
        Ok(id) => id,
        Err(error) => return bad("client_id", &error),
    };
    match app.limits.remove_rule(&id).await {
        Ok(Some(limits)) => {
            tracing::info!(client = %app.shown(id), "a client's own limit was taken back");
            answer::value(
                StatusCode::OK,
                &ForClient {
                    client_id: id.name().into_owned(),
                    limits,
                },
            )
        }
        Ok(None) => answer::error(StatusCode::NOT_FOUND, "this client has no rule"),
        Err(error) => not_changed("client_id", &error),
    }
}

/// What was wrong with a change that looked good, or what it met.
fn not_changed(field: &str, error: &NotChanged) -> Answer {
    match error {
        NotChanged::Quota(_) => bad(field, &error.to_string()),
        NotChanged::TooManyRules => {
            answer::error(StatusCode::CONFLICT, &format!("{field}: {error}"))
        }
        // After a timeout nobody knows whether it happened.
        NotChanged::Redis(RedisError::Timeout(_)) => answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{error}: the change may have been made; GET /config shows it then"),
        ),
        NotChanged::Redis(_) => answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{error}: nothing was changed"),
        ),
    }
}
