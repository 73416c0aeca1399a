//! Items of `POST /check` that name limits: all of them decide, or none is charged.

use serde::Serialize;

use super::decision_view::DecisionView;
use crate::{
    app::App,
    endpoint::Endpoint,
    limit::{PolicyCharge, PolicyDecision},
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
    let Some(policies) = &app.policies else {
        return Err((
            "limits",
            "expected none, since no limit has a name".to_owned(),
        ));
    };
    let applied = policies.named(names, key, cost, &app.clients)?;
    let client = ClientId::CheckKey(key);
    let counters = app.pricing.counters(Endpoint::Check);
    let charge = PolicyCharge::of_limits(client, applied, counters);
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
