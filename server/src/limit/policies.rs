//! Limits of `[[limits]]`: which of them apply to a request, with which key and cost.
//!
//! Every limit that matches applies. A path belongs to the limits of all of its readings and of all
//! methods as which the upstream may serve the request, and of each limit the highest cost counts. A
//! limit is replaced by another one, and a cost of 0 counts, only for a request that all servers read
//! alike: a client could otherwise choose a spelling that is not limited.

use std::sync::Arc;

use hyper::header::HeaderName;
use smallvec::SmallVec;
use tollgate::MAX_LIMITS;

use super::{ban::Ban, limiter::Limiter, named_limits::NamedLimits, price::OwnLimit};
use crate::{
    client_slots::{ClientSlot, ClientSlots},
    config::{Cost, HeaderCondition, Limit, Missing, Settings},
    metrics::{Metrics, Reason, RouteCounters},
    request::{
        client_id::ClientId,
        client_identifier::ClientIdentifier,
        jwt::TokenError,
        key_value::{KeyReader, KeyValue, NoValue},
        limit_request::{LimitRequest, ReadingSet},
    },
    values::{KeySource, LimitKey, PolicyName},
};

/// Label `mode` of a limit that refuses requests.
const ENFORCED: &str = "enforced";

/// Limits of a configuration.
pub(crate) struct Policies {
    limits: Vec<NamedLimit>,
    /// Headers that decide about a request.
    headers: Vec<HeaderName>,
    /// Counters of the default limit. `None`: it does not apply.
    pub(crate) default_counters: Option<Arc<RouteCounters>>,
    /// Which limits apply, or a cost, depends on the method.
    pub(crate) depends_on_method: bool,
    /// The same, or a key, depends on the path.
    pub(crate) depends_on_path: bool,
}

/// A limit, with what it needs to decide.
pub(crate) struct NamedLimit {
    pub(crate) configured: Limit,
    key: KeyReader,
    quotas: Vec<NamedQuota>,
    /// Slots of concurrent requests.
    slots: Option<Arc<ClientSlots>>,
    pub(super) ban: Option<Arc<Ban>>,
    /// Counters of the name of the limit itself.
    counters: Arc<RouteCounters>,
}

/// A quota of a limit.
pub(crate) struct NamedQuota {
    pub(crate) own: OwnLimit,
    pub(crate) counters: Arc<RouteCounters>,
}

/// Limits that apply to a request.
#[derive(Default)]
pub(crate) struct AppliedLimits<'a> {
    pub(crate) enforced: SmallVec<[AppliedLimit<'a>; 2]>,
    pub(crate) shadows: SmallVec<[AppliedLimit<'a>; 1]>,
    /// One of them replaces the default limit.
    pub(crate) replaces_default: bool,
}

/// A limit with the key and the cost of a request.
pub(crate) struct AppliedLimit<'a> {
    pub(crate) limit: &'a NamedLimit,
    pub(crate) key: KeyValue<'a>,
    pub(crate) cost: u32,
}

/// Effects of all limits on a request.
#[derive(Default)]
pub(crate) struct Explained<'a> {
    pub(crate) limits: Vec<Explanation<'a>>,
    /// Name of the limit that replaces the default limit.
    pub(crate) replaces_default: Option<&'a str>,
    /// Name of the first limit that rejects the request. Then none takes tokens.
    pub(crate) rejects: Option<&'a str>,
}

/// Effect of a limit on a request.
pub(crate) struct Explanation<'a> {
    pub(crate) limit: &'a Limit,
    pub(crate) effect: Effect,
    /// Cost in tokens; 0 when the limit does not apply.
    pub(crate) cost: u32,
    /// Keys whose buckets are charged.
    pub(crate) keys: Vec<String>,
}

/// What a limit does to a request, or why it does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Applies,
    /// It refuses nothing.
    Shadow,
    /// The request lacks a header, or has another value.
    OtherHeader(String),
    NoPattern,
    CostsNothing,
    /// The request gets 401.
    Rejected,
    /// The request gets 400: its forwarding headers name different clients.
    Conflicting,
    /// The request has no key, and the limit skips it.
    Skipped,
    /// By the limit of this name.
    Replaced(String),
    /// The limit of this name rejects the request.
    RejectedBy(String),
}

/// Error of a client that holds all of its slots of a limit of concurrent requests.
#[derive(Debug)]
pub(crate) struct TooManyAtOnce<'a> {
    /// Name of the limit.
    pub(crate) limit: &'a str,
    pub(crate) slots: usize,
}

/// Reason to reject a request.
pub(crate) enum ApplyError<'a> {
    /// It has no key of this limit. Its token may be one that does not count.
    MissingKey(&'a NamedLimit, Option<TokenError>),
    ConflictingHeaders,
}

impl Policies {
    /// Returns `None` when the configuration has no `[[limits]]`.
    pub(crate) fn new(
        settings: &Settings,
        metrics: &Metrics,
        limiters: &NamedLimits,
    ) -> Option<Policies> {
        let limits = &settings.limits;
        if limits.list.is_empty() {
            return None;
        }
        let named = limits.list.iter().map(|limit| NamedLimit {
            key: KeyReader::new(&limit.key, limit.ignores_case),
            quotas: quotas(limit, metrics, limiters).collect(),
            slots: limiters.slots(&limit.name),
            ban: limiters.ban(&limit.name),
            counters: metrics.limit(&limit.name, mode(limit)),
            configured: limit.clone(),
        });
        let named: Vec<_> = named.collect();
        let patterns = || {
            limits.list.iter().flat_map(|limit| {
                let of_costs = limit.cost.patterns.iter().map(|(pattern, _)| pattern);
                limit.patterns.iter().chain(of_costs)
            })
        };
        Some(Policies {
            default_counters: limits
                .with_default
                .then(|| metrics.limit(PolicyName::DEFAULT, ENFORCED)),
            depends_on_method: patterns().any(|pattern| pattern.depends_on_method()),
            depends_on_path: patterns().any(|pattern| pattern.path().is_some())
                || named.iter().any(|limit| limit.key.depends_on_path()),
            limits: named,
            headers: limits.headers().cloned().collect(),
        })
    }

    /// Returns true if a limit depends on the header of this name, which is in any letter case.
    pub(crate) fn decides_by(&self, name: &[u8]) -> bool {
        let is = |known: &HeaderName| known.as_str().as_bytes().eq_ignore_ascii_case(name);
        self.headers.iter().any(is)
    }

    /// Returns the limit with a quota of this name, and the limiter of the quota.
    pub(crate) fn quota(&self, name: &str) -> Option<(&Limit, &Limiter)> {
        self.limits.iter().find_map(|limit| {
            let mut quotas = limit.quotas.iter();
            let quota = quotas.find(|quota| *quota.own.policy == *name)?;
            Some((&limit.configured, &*quota.own.limiter))
        })
    }

    /// Returns the limits of these names with a key, for a decision on them alone.
    ///
    /// # Errors
    /// The name of the field, and what was expected.
    pub(crate) fn named<'a, 'n>(
        &'a self,
        names: impl Iterator<Item = &'n PolicyName>,
        key: &'a str,
        cost: u32,
        clients: &ClientIdentifier,
    ) -> Result<AppliedLimits<'a>, (&'static str, String)> {
        let mut applied = AppliedLimits::default();
        for name in names {
            let mut limits = self.limits.iter();
            let limit = limits.find(|limit| limit.configured.name == name.as_str());
            let limit = limit.ok_or_else(|| unknown_limit(name))?;
            let key = limit.key.value_of(key, clients);
            applied.enforced.push(AppliedLimit {
                limit,
                key: key.map_err(|expected| ("key", expected.to_owned()))?,
                cost,
            });
        }
        Ok(applied)
    }

    /// Returns the limits that apply to a request.
    ///
    /// # Errors
    /// The request lacks the key of one of them.
    pub(crate) fn apply<'a>(
        &'a self,
        request: &LimitRequest<'a, '_>,
        clients: &ClientIdentifier,
    ) -> Result<AppliedLimits<'a>, ApplyError<'a>> {
        let mut applied = AppliedLimits::default();
        let mut found: SmallVec<[AppliedLimit<'a>; 2]> = SmallVec::new();
        // Those that cost nothing replace others as well.
        let mut applying: SmallVec<[&Limit; 2]> = SmallVec::new();
        for limit in &self.limits {
            let readings = limit.readings(request);
            if readings == 0 {
                continue;
            }
            let Some(cost) = limit.cost(request, readings) else {
                applying.push(&limit.configured);
                continue;
            };
            let count = found.len();
            limit.add(request, readings, cost, clients, &mut found)?;
            if found.len() > count {
                applying.push(&limit.configured);
            }
        }
        let replaced = |name: &str| replacing(request, &applying, name).is_some();
        applied.replaces_default = replaced(PolicyName::DEFAULT);
        for limit in found {
            let configured = &limit.limit.configured;
            if configured.is_shadow {
                applied.shadows.push(limit);
            } else if !replaced(&configured.name) {
                applied.enforced.push(limit);
            }
        }
        Ok(applied)
    }
}

impl Policies {
    /// Returns how each limit concerns a request.
    pub(crate) fn explain<'a>(
        &'a self,
        request: &LimitRequest<'a, '_>,
        clients: &ClientIdentifier,
    ) -> Explained<'a> {
        let limits = self.limits.iter();
        let mut limits: Vec<_> = limits
            .map(|limit| limit.explain(request, clients))
            .collect();
        let applies = |explained: &Explanation<'_>| {
            matches!(explained.effect, Effect::Applies | Effect::CostsNothing)
        };
        let applying = limits.iter().filter(|explained| applies(explained));
        let applying: Vec<&'a Limit> = applying.map(|explained| explained.limit).collect();
        for explained in &mut limits {
            if applies(explained)
                && let Some(other) = replacing(request, &applying, &explained.limit.name)
            {
                explained.effect = Effect::Replaced(other.name.clone());
            }
        }
        let other = replacing(request, &applying, PolicyName::DEFAULT);
        let is_rejected = |explained: &&Explanation<'_>| {
            matches!(explained.effect, Effect::Rejected | Effect::Conflicting)
        };
        let rejects = limits.iter().find(is_rejected);
        let rejects = rejects.map(|explained| explained.limit.name.as_str());
        if let Some(name) = rejects {
            let takes = |explained: &&mut Explanation<'_>| {
                matches!(explained.effect, Effect::Applies | Effect::Shadow)
            };
            for explained in limits.iter_mut().filter(takes) {
                explained.effect = Effect::RejectedBy(name.to_owned());
            }
        }
        Explained {
            limits,
            replaces_default: other.map(|other| other.name.as_str()),
            rejects,
        }
    }
}

impl Explained<'_> {
    /// Returns true if the limits that apply are more than a request may have, with this number of
    /// others.
    pub(crate) fn is_above_maximum(&self, others: usize) -> bool {
        let count = |effect: Effect| -> usize {
            let limits = self.limits.iter().filter(|limit| limit.effect == effect);
            let counts = limits.map(|it| it.keys.len() * it.limit.counted_names().count());
            counts.sum()
        };
        others + count(Effect::Applies) > MAX_LIMITS || count(Effect::Shadow) > MAX_LIMITS
    }
}

/// Returns the error of a name that no limit has: the name of the field, and what was expected.
pub(crate) fn unknown_limit(name: &PolicyName) -> (&'static str, String) {
    let name = name.as_str();
    (
        "limits",
        format!("expected the names of limits, got {name}"),
    )
}

/// Returns the limit that replaces the one of this name, out of those that apply to a request or
/// cost it nothing. One that is replaced itself replaces others all the same.
fn replacing<'a>(
    request: &LimitRequest<'_, '_>,
    applying: &[&'a Limit],
    name: &str,
) -> Option<&'a Limit> {
    let replaces = |limit: &&'a Limit| limit.instead_of.iter().any(|other| other == name);
    let found = applying.iter().copied().find(replaces);
    found.filter(|_| request.is_plain())
}

fn quotas<'a>(
    limit: &'a Limit,
    metrics: &'a Metrics,
    limiters: &'a NamedLimits,
) -> impl Iterator<Item = NamedQuota> + 'a {
    let mode = mode(limit);
    limit.quotas.iter().filter_map(move |(name, _)| {
        // There is a limiter of each name.
        let limiter = limiters.get(name)?;
        Some(NamedQuota {
            own: OwnLimit {
                limiter,
                policy: name.as_str().into(),
            },
            counters: metrics.limit(name, mode),
        })
    })
}

/// Returns the label `mode` of a limit's counters.
fn mode(limit: &Limit) -> &'static str {
    if limit.is_shadow { "shadow" } else { ENFORCED }
}

impl NamedLimit {
    /// Returns the readings of a request to which the limit applies.
    fn readings(&self, request: &LimitRequest<'_, '_>) -> ReadingSet {
        if self.unmet_condition(request).is_some() {
            return 0;
        }
        let patterns = &self.configured.patterns;
        if patterns.is_empty() {
            return request.all_readings();
        }
        let ignores_case = self.configured.ignores_case;
        let readings = patterns
            .iter()
            .map(|pattern| request.matches(pattern, ignores_case));
        readings.fold(0, |all, readings| all | readings)
    }

    /// Returns the highest cost of the readings, or `None` when the request costs nothing.
    fn cost(&self, request: &LimitRequest<'_, '_>, readings: ReadingSet) -> Option<u32> {
        let Cost { patterns, other } = &self.configured.cost;
        if patterns.is_empty() {
            return (*other > 0).then_some(*other);
        }
        let matching: SmallVec<[_; 4]> = patterns
            .iter()
            .filter(|(_, cost)| *cost > 0 || request.is_plain())
            .map(|(pattern, cost)| {
                let ignores_case = self.configured.ignores_case;
                (pattern, request.path_matches(pattern, ignores_case), *cost)
            })
            .collect();
        let of_reading = |reading: u32, method: &str| {
            let mut matching = matching.iter();
            let found = matching.find(|(pattern, readings, _)| {
                readings >> reading & 1 == 1 && pattern.has_method(method)
            });
            found.map_or(*other, |(_, _, cost)| *cost)
        };
        let costs = members(readings)
            .flat_map(|reading| request.methods().map(move |method| (reading, method)));
        let cost = costs.map(|(reading, method)| of_reading(reading, method.as_str()));
        cost.max().filter(|cost| *cost > 0)
    }

    /// Adds the limit with each value of its key.
    fn add<'a>(
        &'a self,
        request: &LimitRequest<'a, '_>,
        readings: ReadingSet,
        cost: u32,
        clients: &ClientIdentifier,
        found: &mut SmallVec<[AppliedLimit<'a>; 2]>,
    ) -> Result<(), ApplyError<'a>> {
        let start = found.len();
        // Only a key of the path has several.
        let count = if self.key.depends_on_path() {
            usize::MAX
        } else {
            1
        };
        for reading in members(readings).take(count) {
            match self.key.value(request, reading as usize, clients) {
                Ok(key) if found[start..].iter().any(|known| known.key == key) => {}
                Ok(key) => found.push(AppliedLimit {
                    limit: self,
                    key,
                    cost,
                }),
                Err(NoValue::ConflictingHeaders) => return Err(ApplyError::ConflictingHeaders),
                Err(NoValue::Missing) => {
                    self.counters.add(Reason::NoKey);
                    let is_skipped = self.configured.missing == Missing::Skipped;
                    if !is_skipped && !self.configured.is_shadow {
                        return Err(ApplyError::MissingKey(self, request.token_error()));
                    }
                }
            }
        }
        Ok(())
    }

    fn explain<'a>(
        &'a self,
        request: &LimitRequest<'a, '_>,
        clients: &ClientIdentifier,
    ) -> Explanation<'a> {
        let not = |effect: Effect| Explanation {
            limit: &self.configured,
            effect,
            cost: 0,
            keys: Vec::new(),
        };
        if let Some(condition) = self.unmet_condition(request) {
            return not(Effect::OtherHeader(condition.to_string()));
        }
        let readings = self.readings(request);
        if readings == 0 {
            return not(Effect::NoPattern);
        }
        let Some(cost) = self.cost(request, readings) else {
            return not(Effect::CostsNothing);
        };
        let mut found = SmallVec::new();
        let added = self.add(request, readings, cost, clients, &mut found);
        let effect = match (added, found.is_empty()) {
            (Err(ApplyError::ConflictingHeaders), _) => Effect::Conflicting,
            (Err(ApplyError::MissingKey(..)), _) => Effect::Rejected,
            (Ok(()), true) => Effect::Skipped,
            (Ok(()), false) if self.configured.is_shadow => Effect::Shadow,
            (Ok(()), false) => Effect::Applies,
        };
        Explanation {
            limit: &self.configured,
            effect,
            cost,
            keys: found
                .iter()
                .map(|applied| applied.key.to_string())
                .collect(),
        }
    }

    /// Returns the condition on a header that the request does not meet.
    fn unmet_condition(&self, request: &LimitRequest<'_, '_>) -> Option<&HeaderCondition> {
        let is_met = |condition: &&HeaderCondition| {
            let mut values = request.headers.get_all(&condition.name).iter();
            match &condition.value {
                Some(value) => values.any(|given| given == value),
                None => values.next().is_some(),
            }
        };
        let mut conditions = self.configured.headers.iter();
        conditions.find(|condition| !is_met(condition))
    }

    /// Takes a slot of concurrent requests, if the limit has them. An error is a client that holds
    /// all of its slots.
    pub(super) fn try_slot(
        &self,
        key: ClientId<'_>,
    ) -> Result<Option<ClientSlot>, TooManyAtOnce<'_>> {
        let Some(slots) = &self.slots else {
            return Ok(None);
        };
        match slots.try_acquire(slots.key(key), false) {
            Some(slot) => Ok(Some(slot)),
            None => {
                self.counters.add(Reason::TooManyAtOnce);
                Err(TooManyAtOnce {
                    limit: &self.configured.name,
                    slots: self.configured.concurrency.unwrap_or(0),
                })
            }
        }
    }

    pub(crate) fn quotas(&self) -> &[NamedQuota] {
        &self.quotas
    }

    /// Returns true if a claim of a token can be the key, or a part of it.
    pub(crate) fn has_claim(&self) -> bool {
        let mut sources = self.configured.key.iter().flat_map(LimitKey::sources);
        sources.any(|source| matches!(source, KeySource::Claim(_)))
    }

    /// Returns the sources of the key, as in the configuration.
    pub(crate) fn key_text(&self) -> String {
        let part = |key: &LimitKey| {
            let sources = key.sources().iter().map(ToString::to_string);
            sources.collect::<Vec<_>>().join(" | ")
        };
        let parts = self.configured.key.iter().map(part);
        parts.collect::<Vec<_>>().join(" and ")
    }
}

/// Returns the members of a set, in order.
fn members(set: ReadingSet) -> impl Iterator<Item = u32> {
    (0..ReadingSet::BITS).filter(move |index| set >> index & 1 == 1)
}
