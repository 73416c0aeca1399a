//! Responses to refused requests as the configuration wants them.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY},
};
use tollgate::{
    DecisionView, Outcome,
    tower::{Refusal, preferred_media_type},
};

use crate::{
    config::{self, Settings},
    limit::TooManyAtOnce,
    response::{Response, is_grpc, refused, too_many_at_once},
    values::Facts,
};

/// Responses to refused requests, by the limit that refuses.
pub(crate) struct Refusals {
    /// Of limits without one of their own.
    other: Option<Arc<config::Refusal>>,
    by_policy: HashMap<String, Arc<config::Refusal>>,
}

impl Refusals {
    pub(crate) fn new(settings: &Settings) -> Refusals {
        let mut by_policy = HashMap::new();
        for limit in &settings.limits.list {
            let Some(refusal) = &limit.refusal else {
                continue;
            };
            let quotas = limit.quotas.iter().map(|(name, _)| name);
            let ban = limit.ban_policy();
            for name in quotas.chain([&limit.name]).chain(&ban) {
                by_policy.insert(name.clone(), Arc::clone(refusal));
            }
        }
        Refusals {
            other: settings.refusal.clone(),
            by_policy,
        }
    }

    fn of(&self, policy: &str) -> Option<&config::Refusal> {
        self.by_policy
            .get(policy)
            .or(self.other.as_ref())
            .map(|refusal| &**refusal)
    }

    /// Returns the response to a request that a policy refuses. gRPC requests, and those without a
    /// decision, get the usual one.
    pub(crate) fn refused(
        &self,
        policy: &str,
        refusal: Refusal<'_>,
        decision: &DecisionView,
        request: &HeaderMap,
    ) -> Response {
        let own = self.of(policy);
        let own = own.filter(|_| decision.outcome() != Outcome::Unavailable);
        let status = own.and_then(|own| own.status);
        let refusal = status.map_or(refusal, |status| refusal.status(status));
        let mut response = refused(refusal, decision, request);
        if let Some(own) = own
            && !is_grpc(&response)
        {
            let facts = Facts {
                limit: policy,
                capacity: decision.limit(),
                remaining: decision.remaining(),
                cost: decision.cost(),
                retry_after: retry_after(&response),
            };
            adapt(&mut response, own, &facts, request);
        }
        response
    }

    /// Returns the response to a request of a client that holds all slots of a limit. gRPC requests
    /// get the usual one.
    pub(crate) fn too_many_at_once(
        &self,
        error: &TooManyAtOnce<'_>,
        refusal: Refusal<'_>,
        request: &HeaderMap,
    ) -> Response {
        let own = self.of(error.limit);
        let status = own.and_then(|own| own.status);
        let refusal = refusal.policy(error.limit);
        let refusal = status.map_or(refusal, |status| refusal.status(status));
        let mut response = too_many_at_once(refusal, request);
        if let Some(own) = own
            && !is_grpc(&response)
        {
            let facts = Facts {
                limit: error.limit,
                capacity: u32::try_from(error.slots).unwrap_or(u32::MAX),
                remaining: 0,
                cost: 1,
                retry_after: retry_after(&response),
            };
            adapt(&mut response, own, &facts, request);
        }
        response
    }
}

/// Returns the value of `Retry-After`.
fn retry_after(response: &Response) -> Option<u64> {
    let value = response.headers().get(RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok()
}

/// Replaces the body of a response by the one that the request accepts most, and adds headers.
fn adapt(response: &mut Response, own: &config::Refusal, facts: &Facts<'_>, request: &HeaderMap) {
    // What is offered has no parameters, as in most `Accept` headers.
    let types = || {
        let types = own.bodies.iter().map(|(media_type, _)| *media_type);
        types.map(|media_type| media_type.split(';').next().unwrap_or(media_type))
    };
    let preferred = preferred_media_type(request, types());
    let index = types().position(|media_type| Some(media_type) == preferred);
    if let Some((media_type, template)) = own.bodies.get(index.unwrap_or(0)) {
        *response.body_mut() = Full::new(Bytes::from(template.fill(facts)));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    if own.bodies.len() > 1 {
        response.headers_mut().append(VARY, ACCEPT.into());
    }
    for (name, value) in &own.headers {
        response.headers_mut().insert(name, value.clone());
    }
}
