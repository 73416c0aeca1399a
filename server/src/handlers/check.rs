//! Handler of `POST /check`: other services request decisions and act on them themselves.
//!
//! An item names a key and a cost. A list of items gets a list of decisions, made in order, so that
//! a key that occurs twice is charged twice. The whole list is validated before the first decision.

use std::{num::NonZeroU32, time::Duration};

use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tollgate::{Decision, tower};

use crate::{
    app::App,
    endpoint::Endpoint,
    metrics::Credential,
    request::{
        client_id::{ClientId, OwnedClientId},
        json::{self, JsonError},
    },
    response::{self, Response},
    values::{Table, Tokens, required},
};

/// Maximum number of items in a list.
const MAX_ITEMS: usize = 100;

/// Item of the request: a key and a cost in tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    key: String,
    #[serde(default = "one_token", deserialize_with = "required")]
    cost: Tokens,
}

fn one_token() -> Tokens {
    Tokens::ONE
}

/// Decision about an item; times in seconds.
#[derive(Serialize)]
struct DecisionView {
    allowed: bool,
    limit: u32,
    remaining: u32,
    /// `None`: the item is allowed, or its cost exceeds the capacity.
    retry_after: Option<f64>,
    reset_after: f64,
}

/// [`Item`] without escape sequences in its key. Borrows the key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainItem<'a> {
    key: &'a str,
    #[serde(default = "one")]
    cost: NonZeroU32,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Responds about a single item in the common case: its key has no escape sequences, and the
/// decision needs no request to Redis.
///
/// Returns `None`, with nothing charged, in any other case, such as that of a malformed body: see
/// [`response()`].
pub(super) fn respond_now(app: &App, body: &[u8]) -> Option<Response> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let PlainItem { key, cost } = serde_json::from_slice(body).ok()?;
    let key = app.clients.canonical(key);
    let (client, cost) = (app.clients.for_check_key(&key).ok()?, cost.get());
    let deciding = || app.limiter.try_acquire(&client, cost);
    let decided = app.metrics.latency.sampled(deciding)?;
    let view = view(app, client, cost, &decided);
    let mut response = response::json(StatusCode::OK, view.to_json().into());
    if let Some(policy) = decided.source().without_redis() {
        response::add_fallback(&mut response, policy);
    }
    Some(response)
}

/// Responds with the decisions about the items of a body.
///
/// Unknown API keys are charged to `client` as failed credentials, so that an open `/check` is no
/// way to guess keys.
pub(super) async fn response(app: &App, client: Option<&OwnedClientId>, body: &[u8]) -> Response {
    let is_list = body.trim_ascii_start().first() == Some(&b'[');
    let items = if is_list {
        parse_list(body)
    } else {
        json::parse(body).map(|Table(item)| vec![item])
    };
    let mut items = match items {
        Ok(items) => items,
        Err(error) => return error.response(),
    };
    for item in &mut items {
        item.key = app.clients.canonical(&item.key).into_owned();
    }
    if let Some(client) = client
        && items.iter().any(|item| !app.clients.accepts_key(&item.key))
        && let Some(limited) =
            app.limited_failure(client.as_ref(), Credential::ApiKey, &HeaderMap::new())
    {
        return limited;
    }
    decide_all(app, &items, is_list).await
}

fn parse_list(body: &[u8]) -> Result<Vec<Item>, JsonError> {
    let items: Vec<Table<Item>> = json::parse(body)?;
    if items.len() > MAX_ITEMS {
        return Err(JsonError::new(
            "",
            format!("expected at most {MAX_ITEMS} items, got {}", items.len()),
        ));
    }
    Ok(items.into_iter().map(|Table(item)| item).collect())
}

async fn decide_all(app: &App, items: &[Item], is_list: bool) -> Response {
    let charges: Result<Vec<_>, JsonError> = items
        .iter()
        .enumerate()
        .map(|(index, item)| charge(app, item, is_list.then_some(index)))
        .collect();
    let charges = match charges {
        Ok(charges) => charges,
        Err(error) => return error.response(),
    };
    let (mut views, mut fallback) = (Vec::with_capacity(charges.len()), None);
    for (client, cost) in &charges {
        let deciding = app.limiter.acquire(client, *cost);
        let decision = app.metrics.latency.timed(deciding).await;
        views.push(view(app, *client, *cost, &decision));
        fallback = fallback.or(decision.source().without_redis());
    }
    let mut response = match views.as_slice() {
        [view] if !is_list => response::value(StatusCode::OK, view),
        views => response::value(StatusCode::OK, &views),
    };
    if let Some(policy) = fallback {
        response::add_fallback(&mut response, policy);
    }
    response
}

/// Parses client and cost of an item. `index` is its position in a list.
fn charge<'a>(
    app: &App,
    item: &'a Item,
    index: Option<usize>,
) -> Result<(ClientId<'a>, u32), JsonError> {
    let Item { key, cost } = item;
    let field = || index.map_or_else(|| "key".to_owned(), |index| format!("[{index}].key"));
    let client = app.clients.for_check_key(key);
    let client = client.map_err(|expected| JsonError::new(field(), expected))?;
    Ok((client, cost.get()))
}

/// Counts and logs a decision.
fn view(app: &App, client: ClientId<'_>, cost: u32, decision: &Decision) -> DecisionView {
    app.pricing.counters(Endpoint::Check).record(decision);
    let client = app.clients.redacted(client);
    tracing::debug!(%client, path = "/check", cost, outcome = ?decision.outcome(), "request");
    DecisionView::new(decision)
}

impl DecisionView {
    fn new(decision: &Decision) -> DecisionView {
        DecisionView {
            allowed: !decision.is_refused(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            retry_after: tower::retry_after(decision)
                .as_ref()
                .map(Duration::as_secs_f64),
            reset_after: decision.reset_after().as_secs_f64(),
        }
    }

    /// Serializes like the derived `Serialize`, at a third of its cost: keys are not escaped again.
    fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(160);
        json.extend_from_slice(if self.allowed {
            b"{\"allowed\":true,\"limit\":"
        } else {
            b"{\"allowed\":false,\"limit\":"
        });
        push_number(&mut json, &self.limit);
        json.extend_from_slice(b",\"remaining\":");
        push_number(&mut json, &self.remaining);
        json.extend_from_slice(b",\"retry_after\":");
        push_number(&mut json, &self.retry_after);
        json.extend_from_slice(b",\"reset_after\":");
        push_number(&mut json, &self.reset_after);
        json.push(b'}');
        json
    }
}

fn push_number(json: &mut Vec<u8>, number: &impl Serialize) {
    let length = json.len();
    if serde_json::to_writer(&mut *json, number).is_err() {
        // Writing to a vector and formatting a number cannot fail.
        json.truncate(length);
        json.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_serialized_as_its_derive_does() {
        for (retry_after, reset_after) in [(None, 0.0), (Some(0.5), 1e-9), (Some(1e9), f64::MAX)] {
            for allowed in [false, true] {
                let view = DecisionView {
                    allowed,
                    limit: u32::MAX,
                    remaining: 0,
                    retry_after,
                    reset_after,
                };
                assert_eq!(view.to_json(), serde_json::to_vec(&view).unwrap());
            }
        }
    }
}
