//! Handler of `POST /check`: other services request decisions and act on them themselves.
//!
//! An item names a key and a cost. A list of items gets a list of decisions, made in order, so that
//! a key that occurs twice is charged twice. The whole list is validated before the first decision.

use std::num::NonZeroU32;

use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tollgate::Decision;

use super::{
    check_limits::{self, LimitsView},
    decision_view::DecisionView,
};
use crate::{
    app::App,
    endpoint::Endpoint,
    limit::PolicyCharge,
    metrics::Credential,
    request::{
        client_id::{ClientId, OwnedClientId},
        json::{self, JsonError},
    },
    response::{self, Response},
    values::{PolicyName, Table, Tokens, one_or_list, required},
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
    /// Names of limits, all of which decide; `None`: the default limit.
    #[serde(default, deserialize_with = "one_or_list")]
    limits: Option<Vec<PolicyName>>,
}

fn one_token() -> Tokens {
    Tokens::ONE
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
    if !app.has_default() {
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
    for charge in charges {
        let (answer, without_redis) = match charge {
            ItemCharge::Default(client, cost) => {
                let deciding = app.limiter.acquire(&client, cost);
                let decision = app.metrics.latency.timed(deciding).await;
                let view = view(app, client, cost, &decision);
                (Answer::Default(view), decision.source().without_redis())
            }
            ItemCharge::Limits(charge) => {
                let Some((decided, without_redis)) = check_limits::decide(app, *charge).await
                else {
                    return response::bad_request("limits", "expected at least one");
                };
                (Answer::Limits(decided), without_redis)
            }
        };
        views.push(answer);
        fallback = fallback.or(without_redis);
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

/// Charge of an item.
enum ItemCharge<'a> {
    Default(ClientId<'a>, u32),
    Limits(Box<PolicyCharge<'a>>),
}

/// Answer to an item.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Default(DecisionView),
    Limits(LimitsView),
}

/// Parses the charge of an item. `index` is its position in a list.
fn charge<'a>(
    app: &'a App,
    item: &'a Item,
    index: Option<usize>,
) -> Result<ItemCharge<'a>, JsonError> {
    let Item { key, cost, limits } = item;
    let field = |name: &str| match index {
        Some(index) => format!("[{index}].{name}"),
        None => name.to_owned(),
    };
    match limits {
        Some(names) => {
            let charge = check_limits::charge(app, names, key, cost.get());
            let charge =
                charge.map_err(|(name, expected)| JsonError::new(field(name), expected))?;
            Ok(ItemCharge::Limits(Box::new(charge)))
        }
        None if !app.has_default() => {
            let expected = "expected the names of limits, since there is no default limit";
            Err(JsonError::new(field("limits"), expected))
        }
        None => {
            let client = app.clients.for_check_key(key);
            let client = client.map_err(|expected| JsonError::new(field("key"), expected))?;
            Ok(ItemCharge::Default(client, cost.get()))
        }
    }
}

/// Counts and logs a decision.
fn view(app: &App, client: ClientId<'_>, cost: u32, decision: &Decision) -> DecisionView {
    app.pricing.counters(Endpoint::Check).record(decision);
    let client = app.clients.redacted(client);
    tracing::debug!(%client, path = "/check", cost, outcome = ?decision.outcome(), "request");
    DecisionView::new(decision)
}
