//! Items of `POST /check` that name limits: all of them decide, or none is charged.

use serde::Serialize;

use super::decision_view::DecisionView;
use crate::{
    app::App,
    endpoint::Endpoint,
    limit::{AppliedLimits, PolicyCharge, PolicyDecision, unknown_limit},
    request::client_id::ClientId,
    response,
    values::PolicyName,
};

/// Maximum number of buckets that an item charges.
const MAX_LIMITS: usize = tollgate::MAX_LIMITS;

/// Decision of several limits: that of the one that decides, and those of all.
#[derive(Serialize)]
pub(super) struct LimitsView {
    #[serde(flatten)]
    deciding: DecisionView,
    limits: Vec<LimitView>,
}

#[derive(Serialize)]
struct LimitView {
    name: String,
    #[serde(flatten)]
    decision: DecisionView,
}

/// Returns the charge of an item.
///
/// # Errors
/// The name of the field, and what was expected.
pub(super) fn charge<'a>(
    app: &'a App,
    names: &[PolicyName],
    key: &'a str,
    cost: u32,
) -> Result<PolicyCharge<'a>, (&'static str, String)> {
    let is_default = |name: &PolicyName| app.has_default() && name.as_str() == PolicyName::DEFAULT;
    for (index, name) in names.iter().enumerate() {
        if names[..index]
            .iter()
            .any(|known| known.as_str() == name.as_str())
        {
            let name = name.as_str();
            return Err((
                "limits",
                format!("expected each name once, got {name} again"),
            ));
        }
    }
    let mut others = names.iter().filter(|name| !is_default(name));
    let applied = match &app.policies {
        Some(policies) => policies.named(others, key, cost, &app.clients)?,
        None => match others.next() {
            Some(name) => return Err(unknown_limit(name)),
            None => AppliedLimits::default(),
        },
    };
    let (client, default_cost) = if names.iter().any(is_default) {
        let client = app.clients.for_check_key(key);
        (
            client.map_err(|expected| ("key", expected.to_owned()))?,
            Some(cost),
        )
    } else {
        (ClientId::CheckKey(key), None)
    };
    let policies = app.policies.as_ref();
    let default_counters = policies.and_then(|policies| policies.default_counters.as_ref());
    let counters = app.pricing.counters(Endpoint::Check);
    let default = (default_cost, default_counters);
    let charge = PolicyCharge::of_limits(client, applied, default, counters);
    match charge.count() {
        1..=MAX_LIMITS => Ok(charge),
        count => Err((
            "limits",
            format!("expected from 1 to {MAX_LIMITS} limits, got {count}"),
        )),
    }
}

/// Decides about an item. Returns the fallback policy of a decision without Redis as well, and `None`
/// for a charge without a bucket.
pub(super) async fn decide(
    app: &App,
    charge: PolicyCharge<'_>,
) -> Option<(LimitsView, Option<&'static str>)> {
    let (counters, client) = (charge.counters.clone(), charge.client);
    let finish = |decision: &PolicyDecision<'_>| {
        counters.record(&decision.decision);
        let client = app.clients.redacted(client);
        let outcome = decision.decision.outcome();
        tracing::debug!(%client, path = "/check", cost = decision.decision.cost(), ?outcome, "request");
        let fallback = decision.decision.source().without_redis();
        (LimitsView::new(decision), fallback)
    };
    if let Some(decision) = charge.try_acquire(&app.limiter, &app.metrics) {
        return Some(finish(&decision));
    }
    let pending = charge.into_pending(Vec::new())?;
    let decision = pending.acquire(&app.limiter, &app.metrics).await;
    Some(finish(&decision))
}

impl LimitsView {
    fn new(decision: &PolicyDecision<'_>) -> LimitsView {
        let view = |(policy, view): &(_, tollgate::DecisionView)| LimitView {
            name: response::policy_name(*policy).to_owned(),
            decision: DecisionView::new(view),
        };
        let only = [(decision.policy, decision.decision)];
        let all = if decision.all.is_empty() {
            &only[..]
        } else {
            &decision.all
        };
        LimitsView {
            deciding: DecisionView::new(&decision.decision),
            limits: all.iter().map(view).collect(),
        }
    }
}
