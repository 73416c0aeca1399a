//! Handlers of the admin API, which reads and updates limits.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate::{Quota, RedisError};

use crate::{
    app::App,
    limit::{DefaultUpdate, Limiter, QuotaView, UpdateError},
    request::{client_id::ClientId, json, path::percent_decoded},
    response::{self, Response, bad_request},
    values::{PolicyName, Rate, Table, Tokens, optional, required},
};

/// `GET /config`: the effective limits.
pub(crate) fn get_config(app: &App) -> Response {
    response::value(StatusCode::OK, &app.effective_config())
}

/// `POST /config`: updates the default quota.
pub(super) async fn update_config(app: &App, body: &[u8]) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Update {
        #[serde(default, deserialize_with = "optional")]
        capacity: Option<Tokens>,
        #[serde(default, deserialize_with = "optional")]
        refill_rate: Option<Rate>,
    }
    let update = match json::parse(body) {
        Ok(Table(Update {
            capacity: None,
            refill_rate: None,
        })) => return bad_request("", "expected capacity, refill_rate or both"),
        Ok(Table(Update {
            capacity,
            refill_rate,
        })) => DefaultUpdate {
            capacity: capacity.map(|tokens| tokens.get()),
            refill_rate: refill_rate.map(|rate| rate.per_second()),
        },
        Err(error) => return error.response(),
    };
    if let Some(conflict) = without_default(app) {
        return conflict;
    }
    match app.limiter.replace(update).await {
        Ok(config) => {
            app.log_high_costs(&config);
            response::value(StatusCode::OK, &app.shown(config))
        }
        // Only the capacity can be out of range here: an interval quota must not refill more than
        // 10⁹ tokens per second.
        Err(error) => update_error("capacity", &error),
    }
}

/// Returns 409 when there is no default limit, whose quota or rule a request changes.
fn without_default(app: &App) -> Option<Response> {
    let message = "there is no default limit; PUT /admin/limits/NAME changes one of [[limits]]";
    (!app.has_default()).then(|| response::error(StatusCode::CONFLICT, message))
}

/// Effective quota of one client.
#[derive(Serialize)]
struct ClientQuota {
    client_id: String,
    #[serde(flatten)]
    quota: QuotaView,
}

/// `POST /admin/update-rule`: sets a client's own quota.
pub(super) async fn update_rule(app: &App, body: &[u8]) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        client_id: String,
        #[serde(deserialize_with = "required")]
        capacity: Tokens,
        #[serde(deserialize_with = "required")]
        refill_rate: Rate,
    }
    let Rule {
        client_id,
        capacity,
        refill_rate,
    } = match json::parse(body) {
        Ok(Table(rule)) => rule,
        Err(error) => return error.response(),
    };
    let client_id = app.clients.canonical(&client_id);
    let client = match app.clients.parse(&client_id) {
        Ok(client) => client,
        Err(error) => return bad_request("client_id", &error),
    };
    let quota = match Quota::from_rate(capacity.get(), refill_rate.per_second()) {
        Ok(quota) => quota,
        Err(error) => return bad_request("refill_rate", &error.to_string()),
    };
    if let Some(conflict) = without_default(app) {
        return conflict;
    }
    match app.limiter.set_rule(&client, quota).await {
        Ok(view) => {
            tracing::info!(client = %app.clients.redacted(client), %quota, "client rule set");
            client_quota(client, view)
        }
        Err(error) => update_error("client_id", &error),
    }
}

/// `PUT /admin/limits/{name}`: sets the quota of a limit. A changed quota fills its buckets.
pub(super) async fn update_limit(app: &App, name: &str, body: &[u8]) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Update {
        quota: Quota,
    }
    let Update { quota } = match json::parse(body) {
        Ok(Table(update)) => update,
        Err(error) => return error.response(),
    };
    if name == PolicyName::DEFAULT && app.has_default() {
        let set = quota_set(name, quota, &app.limiter).await;
        app.log_high_costs(&app.limiter.effective_config());
        return set;
    }
    let named = app
        .policies
        .as_ref()
        .and_then(|policies| policies.quota(name));
    let Some((limit, limiter)) = named else {
        return response::error(StatusCode::NOT_FOUND, "there is no limit of this name");
    };
    let cost = limit.cost.highest();
    if cost > quota.capacity() {
        let expected =
            format!("expected a capacity of at least {cost}, the highest cost, got {quota}");
        return bad_request("quota", &expected);
    }
    quota_set(name, quota, limiter).await
}

/// Sets the quota of the limit with this name.
async fn quota_set(name: &str, quota: Quota, limiter: &Limiter) -> Response {
    match limiter.set_quota(quota).await {
        Ok(view) => {
            tracing::info!(limit = name, %quota, "quota of a limit set");
            response::value(StatusCode::OK, &NamedQuota { name, quota: view })
        }
        Err(error) => update_error("quota", &error),
    }
}

/// Effective quota of a limit.
#[derive(Serialize)]
struct NamedQuota<'a> {
    name: &'a str,
    #[serde(flatten)]
    quota: QuotaView,
}

/// `DELETE /admin/rule/{client_id}`: removes a client's own quota.
pub(super) async fn remove_rule(app: &App, encoded: &str) -> Response {
    let Some(client_id) = percent_decoded(encoded) else {
        return bad_request("client_id", "expected percent-encoded UTF-8");
    };
    let client_id = app.clients.canonical(&client_id);
    let client = match app.clients.parse(&client_id) {
        Ok(client) => client,
        Err(error) => return bad_request("client_id", &error),
    };
    if let Some(conflict) = without_default(app) {
        return conflict;
    }
    match app.limiter.remove_rule(&client).await {
        Ok(Some(view)) => {
            tracing::info!(client = %app.clients.redacted(client), "client rule removed");
            client_quota(client, view)
        }
        Ok(None) => response::error(StatusCode::NOT_FOUND, "this client has no rule"),
        Err(error) => update_error("client_id", &error),
    }
}

fn client_quota(client: ClientId<'_>, quota: QuotaView) -> Response {
    response::value(
        StatusCode::OK,
        &ClientQuota {
            client_id: client.name().into_owned(),
            quota,
        },
    )
}

/// Response to an update that failed.
fn update_error(field: &str, error: &UpdateError) -> Response {
    match error {
        UpdateError::Quota(_) => bad_request(field, &error.to_string()),
        UpdateError::TooManyRules(_) => {
            response::error(StatusCode::CONFLICT, &format!("{field}: {error}"))
        }
        // After a timeout, Redis may have executed the update.
        UpdateError::Redis(RedisError::Timeout(_)) => response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{error}: the change may have been made; check GET /config"),
        ),
        UpdateError::Redis(_) | UpdateError::State(_) => response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{error}: nothing was changed"),
        ),
    }
}
