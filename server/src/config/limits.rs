//! Limits: every limit that matches a request applies to it, all or nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use hyper::{Method, header::HeaderName};
use tollgate::{MAX_LIMITS, Quota};

use super::{
    file,
    refusal::Refusal,
    routes::{Route, RouteQuota},
};
use crate::{
    request::{path::fold_case, request_pattern::RequestPattern},
    values::{Client, KeySource, LimitKey, Period, PolicyName, Value},
};

pub(crate) use super::file::{HeaderCondition, Missing};

/// Maximum number of parts of a key.
const MAX_PARTS: usize = 4;

/// Cost of a request that no pattern describes.
const DEFAULT_COST: u32 = 1;

/// A limit: requests that match take tokens of a bucket of their key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: String,
    /// Any of them describes a request. Their letter case is folded when it is ignored.
    pub(crate) patterns: Vec<RequestPattern>,
    /// All of them hold for a request.
    pub(crate) headers: Vec<HeaderCondition>,
    pub(crate) key: Vec<LimitKey>,
    /// With the name of each in headers and metrics.
    pub(crate) quotas: Vec<(String, Quota)>,
    /// Greatest number of requests to upstreams at the same time.
    pub(crate) concurrency: Option<usize>,
    /// Longest wait for tokens of this limit. Zero: requests are refused at once.
    pub(crate) delay: Duration,
    pub(crate) ban: Option<Ban>,
    pub(crate) cost: Cost,
    pub(crate) is_shadow: bool,
    /// Names of limits that do not apply where this one does.
    pub(crate) instead_of: Vec<String>,
    pub(crate) missing: Missing,
    pub(crate) max_clients: Option<usize>,
    pub(crate) ignores_case: bool,
    /// `None`: that of all limits.
    pub(crate) refusal: Option<Arc<Refusal>>,
}

/// Ban of a key that is refused too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    /// Refusals, of which the first one beyond begins the ban.
    pub(crate) refusals: Quota,
    /// One token, which is away during the ban.
    pub(crate) ban: Quota,
}

/// Cost of a request in tokens, from the pattern that describes it most closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// The most specific first.
    pub(crate) patterns: Vec<(RequestPattern, u32)>,
    /// Of requests that no pattern describes.
    pub(crate) other: u32,
}

/// Limits of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Empty: only the default limit and those of routes apply.
    pub(crate) list: Vec<Limit>,
    /// The default limit applies as well.
    pub(crate) with_default: bool,
}

/// What the limits depend on.
pub(super) struct Context<'a> {
    pub(super) client: &'a Client,
    pub(super) routes: &'a [Route],
    /// The configuration has a default quota.
    pub(super) has_quota: bool,
    pub(super) has_rules: bool,
    pub(super) has_upstream: bool,
    pub(super) has_delay: bool,
    pub(super) has_jwt: bool,
    pub(super) case_sensitive_paths: bool,
}

impl Limits {
    /// Validates the limits of the file. An error is one line.
    pub(super) fn merge(given: Vec<file::Limit>, context: &Context<'_>) -> Result<Limits, String> {
        if given.is_empty() {
            return Ok(Limits::default());
        }
        context.validate()?;
        let mut names =
            HashSet::from([PolicyName::DEFAULT, PolicyName::FAILED_CREDENTIALS].map(str::to_owned));
        names.extend(context.routes.iter().filter(has_quota).map(Route::policy));
        let mut list = Vec::new();
        for (index, limit) in given.into_iter().enumerate() {
            let limit =
                Limit::new(limit, context).map_err(|error| format!("limits[{index}].{error}"))?;
            let ban = limit.ban_policy();
            for name in limit.counted_names().chain(ban.as_deref()) {
                if !names.insert(name.to_owned()) {
                    return Err(format!(
                        "limits[{index}].name: expected each name once, got {name} again"
                    ));
                }
            }
            list.push(limit);
        }
        let limits = Limits {
            list,
            with_default: context.has_quota,
        };
        limits.check_instead_of()?;
        limits.check_count()?;
        Ok(limits)
    }

    fn check_instead_of(&self) -> Result<(), String> {
        let names: BTreeSet<_> = self.list.iter().map(|limit| limit.name.as_str()).collect();
        let is_known =
            |name: &str| names.contains(name) || self.with_default && name == PolicyName::DEFAULT;
        for (index, limit) in self.list.iter().enumerate() {
            for name in &limit.instead_of {
                if !is_known(name) || *name == limit.name {
                    return Err(format!(
                        "limits[{index}].instead_of: expected the name of another limit, got {name}"
                    ));
                }
                if limit.is_shadow {
                    return Err(format!(
                        "limits[{index}].instead_of: expected a limit that is enforced, got shadow = true"
                    ));
                }
            }
        }
        self.check_cycles()
    }

    /// Checks that no limit replaces itself through others: none of them would apply.
    fn check_cycles(&self) -> Result<(), String> {
        // A limit that replaces none of the rest is in no cycle.
        let mut rest: Vec<&Limit> = self.list.iter().collect();
        loop {
            let names: HashSet<&str> = rest.iter().map(|limit| limit.name.as_str()).collect();
            let count = rest.len();
            rest.retain(|limit| {
                let mut others = limit.instead_of.iter();
                others.any(|other| names.contains(other.as_str()))
            });
            if rest.len() == count {
                break;
            }
        }
        let mut path: Vec<&Limit> = Vec::new();
        let mut next = rest.first().copied();
        while let Some(limit) = next {
            if let Some(start) = path.iter().position(|known| known.name == limit.name) {
                let cycle = path[start..].iter().chain([&limit]);
                let names: Vec<_> = cycle.map(|limit| limit.name.as_str()).collect();
                let index = self.list.iter().position(|known| known.name == limit.name);
                return Err(format!(
                    "limits[{}].instead_of: expected no cycle, got {}",
                    index.unwrap_or(0),
                    names.join(" instead of ")
                ));
            }
            path.push(limit);
            let mut replaced = rest.iter().copied();
            next = replaced.find(|other| limit.instead_of.contains(&other.name));
        }
        Ok(())
    }

    /// Checks that at most [`MAX_LIMITS`] apply to any request. Two limits are disjoint only when
    /// their methods are, or the literal beginnings of their paths.
    fn check_count(&self) -> Result<(), String> {
        let prefix = |pattern: &RequestPattern| {
            let prefix = pattern.path().map(|path| path.literal_prefix());
            let fold = |name: Vec<u8>| fold_case(&name).into_owned();
            let folded = prefix.unwrap_or_default().into_iter().map(fold);
            folded.collect::<Vec<_>>()
        };
        let patterns = || self.list.iter().flat_map(|limit| &limit.patterns);
        let prefixes: BTreeSet<_> = patterns().map(prefix).chain([Vec::new()]).collect();
        let methods = patterns().flat_map(|pattern| pattern.methods());
        // One that no pattern names stands for all others.
        let methods: BTreeSet<&str> = methods.map(Method::as_str).chain(["-"]).collect();
        for path in &prefixes {
            for method in &methods {
                let may_match = |pattern: &RequestPattern| {
                    pattern.has_method(method) && path.starts_with(&prefix(pattern))
                };
                let meeting = self.list.iter().filter(|limit| {
                    limit.patterns.is_empty() || limit.patterns.iter().any(may_match)
                });
                let names = meeting.flat_map(Limit::counted_names);
                let default = self.with_default.then_some(PolicyName::DEFAULT);
                let names: Vec<&str> = default.into_iter().chain(names).collect();
                if names.len() > MAX_LIMITS {
                    return Err(format!(
                        "limits: expected at most {MAX_LIMITS} that may apply to one request, got {}",
                        names[..=MAX_LIMITS].join(", ")
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns true if requests are charged to the default limit, unless a limit may replace it.
    pub(super) fn may_charge_default(&self) -> bool {
        let mut replaced = self.list.iter().flat_map(|limit| &limit.instead_of);
        let applies = self.list.is_empty() || self.with_default;
        applies && !replaced.any(|name| name == PolicyName::DEFAULT)
    }

    /// Returns the headers that decide about a request.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let keys = self.list.iter().flat_map(|limit| &limit.key);
        let sources = keys.flat_map(|key| key.sources());
        let of_keys = sources.filter_map(|source| match source {
            KeySource::Header(name) => Some(name),
            _ => None,
        });
        let conditions = self.list.iter().flat_map(|limit| &limit.headers);
        of_keys.chain(conditions.map(|condition| &condition.name))
    }
}

impl Context<'_> {
    /// Checks that what needs the default quota has one.
    fn validate(&self) -> Result<(), String> {
        if self.has_quota {
            return Ok(());
        }
        let expected =
            |key: &str| format!("{key}: expected a default quota beside limits, got none");
        if self.has_delay {
            return Err(expected("delay"));
        }
        if self.has_rules {
            return Err(expected("rules"));
        }
        let mut routes = self.routes.iter();
        match routes.position(|route| route.own_quota.is_none()) {
            Some(index) => Err(expected(&format!("routes[{index}]"))),
            None => Ok(()),
        }
    }
}

fn has_quota(route: &&Route) -> bool {
    matches!(route.own_quota, Some(RouteQuota { .. }))
}

impl Limit {
    fn new(given: file::Limit, context: &Context<'_>) -> Result<Limit, String> {
        let name = given.name.as_str().to_owned();
        match (&given.quota, given.concurrency) {
            (None, None) => {
                return Err("quota: expected a quota or concurrency, got neither".to_owned());
            }
            (_, Some(_)) if !context.has_upstream => {
                return Err("concurrency: expected an upstream, got none".to_owned());
            }
            (_, Some(_)) if given.shadow => {
                return Err("concurrency: expected a limit without shadow = true".to_owned());
            }
            _ => {}
        }
        let delay = given.delay.map(|delay| delay.get()).unwrap_or_default();
        let expected = if delay.is_zero() {
            None
        } else if given.shadow {
            Some("expected a limit without shadow = true")
        } else if given.quota.is_none() {
            Some("expected a quota beside it, got none")
        } else {
            None
        };
        if let Some(expected) = expected {
            return Err(format!("delay: {expected}"));
        }
        let expected = match given.ban {
            None => None,
            Some(_) if given.shadow => Some("expected a limit without shadow = true"),
            Some(_) if given.quota.is_none() => Some("expected a quota beside it, got none"),
            Some(_) => None,
        };
        if let Some(expected) = expected {
            return Err(format!("ban: {expected}"));
        }
        let ban = given.ban.map(Ban::new).transpose();
        let ban = ban.map_err(|error| format!("ban.{error}"))?;
        let given_quotas = given.quota.unwrap_or_default();
        if given_quotas.is_empty() && given.concurrency.is_none() {
            return Err("quota: expected at least one, got an empty list".to_owned());
        }
        let smallest = given_quotas.iter().map(Quota::capacity).min();
        let smallest = smallest.unwrap_or(u32::MAX);
        let quotas = given_quotas.iter().enumerate().map(|(index, quota)| {
            let name = match index {
                0 => name.clone(),
                _ => format!("{name}-{}", index + 1),
            };
            (name, *quota)
        });
        let key = match given.key {
            Some(key) if !(1..=MAX_PARTS).contains(&key.len()) => {
                return Err(format!(
                    "key: expected from 1 to {MAX_PARTS} parts, got {}",
                    key.len()
                ));
            }
            Some(key) => key,
            None => vec![client_key(context.client)?],
        };
        let mut sources = key.iter().flat_map(|key| key.sources());
        if !context.has_jwt
            && let Some(claim) = sources.find(|source| matches!(source, KeySource::Claim(_)))
        {
            return Err(format!("key: expected [jwt] keys beside {claim}, got none"));
        }
        if given.patterns.as_ref().is_some_and(Vec::is_empty) {
            return Err("match: expected at least one pattern, got an empty list".to_owned());
        }
        if given.header.as_ref().is_some_and(Vec::is_empty) {
            return Err("header: expected at least one, got an empty list".to_owned());
        }
        let ignores_case = given.ignore_case.unwrap_or(!context.case_sensitive_paths);
        let folded = |pattern: RequestPattern| {
            if ignores_case {
                pattern.folded()
            } else {
                pattern
            }
        };
        let cost = Cost::new(given.cost, folded);
        if let Some(cost) = cost.all().find(|cost| *cost > smallest) {
            return Err(format!(
                "cost: expected at most the capacity, {smallest}, got {cost}"
            ));
        }
        let refusal = given.refusal.map(Refusal::new).transpose();
        let refusal = refusal.map_err(|error| format!("refusal.{error}"))?;
        Ok(Limit {
            refusal: refusal.map(Arc::new),
            quotas: quotas.collect(),
            delay,
            ban,
            concurrency: given.concurrency.map(|number| number.size()),
            name,
            patterns: given
                .patterns
                .unwrap_or_default()
                .into_iter()
                .map(folded)
                .collect(),
            headers: given.header.unwrap_or_default(),
            key,
            cost,
            is_shadow: given.shadow,
            instead_of: given
                .instead_of
                .unwrap_or_default()
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            missing: given.missing.unwrap_or_default(),
            max_clients: given.max_clients.map(|clients| clients.size()),
            ignores_case,
        })
    }
}

impl Limit {
    /// Returns the name of each quota, or that of the limit when it bounds concurrent requests alone.
    /// Each counts among the limits of a request.
    pub(crate) fn counted_names(&self) -> impl Iterator<Item = &str> {
        let only = self.quotas.is_empty().then_some(&*self.name);
        let of_quotas = self.quotas.iter().map(|(name, _)| &**name);
        of_quotas.chain(only)
    }

    /// Returns the name of the policy that refuses banned keys, if the limit bans.
    pub(crate) fn ban_policy(&self) -> Option<String> {
        self.ban.map(|_| format!("{}-ban", self.name))
    }
}

/// Returns the key of a limit without one: that of the default limit.
fn client_key(client: &Client) -> Result<LimitKey, String> {
    let text = match client {
        Client::Ip => "ip".to_owned(),
        Client::Header(name) => format!("header:{name}"),
    };
    LimitKey::from_text(&text).ok_or_else(|| format!("key: expected one, got none for {text}"))
}

impl Ban {
    fn new(given: file::Ban) -> Result<Ban, String> {
        let quota = |key: &str, tokens: u32, time: Period| {
            Quota::try_interval(tokens, time.get()).map_err(|error| format!("{key}: {error}"))
        };
        Ok(Ban {
            refusals: quota("within", given.after.get(), given.within)?,
            ban: quota("for", 1, given.time)?,
        })
    }
}

impl Cost {
    fn new(given: Option<file::Cost>, folded: impl Fn(RequestPattern) -> RequestPattern) -> Cost {
        let tokens = |cost: file::LimitCost| u32::try_from(cost.get()).unwrap_or(u32::MAX);
        match given {
            None => Cost {
                patterns: Vec::new(),
                other: DEFAULT_COST,
            },
            Some(file::Cost::Same(cost)) => Cost {
                patterns: Vec::new(),
                other: tokens(cost),
            },
            Some(file::Cost::ByPattern(costs)) => {
                // Of equally specific patterns, the highest cost counts.
                let mut by_specificity = BTreeMap::new();
                for (pattern, cost) in costs {
                    let rank = (pattern.specificity(), tokens(cost));
                    by_specificity.insert(
                        (rank, pattern.text().to_owned()),
                        (folded(pattern), tokens(cost)),
                    );
                }
                Cost {
                    patterns: by_specificity.into_values().rev().collect(),
                    other: DEFAULT_COST,
                }
            }
        }
    }

    /// Returns the highest cost that a request may have.
    pub(crate) fn highest(&self) -> u32 {
        self.all().max().unwrap_or(0)
    }

    /// Returns all costs that a request may have.
    fn all(&self) -> impl Iterator<Item = u32> + '_ {
        let of_patterns = self.patterns.iter().map(|(_, cost)| *cost);
        // The cost of other requests may not be needed, when a pattern describes all of them.
        let is_complete = self
            .patterns
            .iter()
            .any(|(pattern, _)| pattern.path().is_none() && !pattern.depends_on_method());
        of_patterns.chain((!is_complete).then_some(self.other))
    }
}
