//! Limits in a configuration, their updates, and their JSON form.

use std::{collections::BTreeMap, fmt, io, time::Duration};

use serde::Serialize;
use tollgate::{Quota, QuotaError, RedisError};

use crate::request::client_id::ClientId;

/// Update of the default quota. Omitted values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DefaultUpdate {
    pub(crate) capacity: Option<u32>,
    /// Tokens per second, refilled greedily. Replaces an interval refill.
    pub(crate) refill_rate: Option<f64>,
}

/// Effective configuration of limits, as `GET /config` returns it.
#[derive(Debug, Serialize)]
pub(crate) struct EffectiveConfig {
    /// `None`: there is no default limit.
    #[serde(flatten)]
    default: Option<QuotaView>,
    /// Longest time that a request waits for its tokens, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<f64>,
    /// By client id.
    rules: BTreeMap<String, QuotaView>,
    /// By label, the routes with limits of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<String, QuotaView>,
    /// By name, the quotas of `[[limits]]`, and their bounds of concurrent requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, LimitView>,
}

/// JSON form of a named limit.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LimitView {
    #[serde(flatten)]
    pub(super) quota: Option<QuotaView>,
    /// Greatest number of requests of a key at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) concurrency: Option<usize>,
}

/// JSON form of a quota in the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct QuotaView {
    capacity: u32,
    refill_rate: f64,
    mode: &'static str,
    /// Length of the interval in seconds, for interval quotas.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
}

/// Limits of clients in a configuration.
pub(crate) struct ConfiguredLimits<'a> {
    pub(crate) default: Quota,
    pub(crate) rules: Vec<(ClientId<'a>, Quota)>,
}

/// Error of an update of limits.
#[derive(Debug)]
pub(crate) enum UpdateError {
    /// The values are not a valid quota together.
    Quota(QuotaError),
    /// The number of rules would exceed this.
    TooManyRules(usize),
    Redis(RedisError),
    /// The files with the buckets or the rules cannot be changed.
    State(String),
}

/// Rule of a configuration: a client with its own quota.
pub(super) struct Rule<'a> {
    pub(super) client: &'a ClientId<'a>,
    pub(super) name: String,
    pub(super) quota: Quota,
}

impl ConfiguredLimits<'_> {
    pub(super) fn named_rules(&self) -> impl Iterator<Item = Rule<'_>> {
        self.rules.iter().map(|(client, quota)| Rule {
            client,
            name: client.name().into_owned(),
            quota: *quota,
        })
    }

    /// Returns the rules that are new or changed since `old`, and the removed ones.
    pub(super) fn rule_changes_since<'a>(
        &'a self,
        old: &'a ConfiguredLimits<'a>,
    ) -> (Vec<Rule<'a>>, Vec<Rule<'a>>) {
        let by_name = |limits: &ConfiguredLimits<'_>| -> BTreeMap<String, Quota> {
            let rules = limits.named_rules();
            rules.map(|rule| (rule.name, rule.quota)).collect()
        };
        let (before, after) = (by_name(old), by_name(self));
        let set = self
            .named_rules()
            .filter(|rule| before.get(&rule.name) != Some(&rule.quota))
            .collect();
        let removed = old
            .named_rules()
            .filter(|rule| !after.contains_key(&rule.name))
            .collect();
        (set, removed)
    }
}

impl DefaultUpdate {
    /// Returns the quota that results from updating `old`.
    pub(super) fn apply(self, old: Quota) -> Result<Quota, UpdateError> {
        let capacity = self.capacity.unwrap_or(old.capacity());
        match self.refill_rate {
            Some(rate) => Quota::from_rate(capacity, rate),
            None => old.try_with_capacity(capacity),
        }
        .map_err(UpdateError::Quota)
    }
}

impl EffectiveConfig {
    pub(super) fn new(
        default: Quota,
        rules: impl IntoIterator<Item = (String, Quota)>,
    ) -> EffectiveConfig {
        let rules = rules
            .into_iter()
            .map(|(name, quota)| (name, quota.into()))
            .collect();
        EffectiveConfig {
            default: Some(default.into()),
            delay: None,
            rules,
            routes: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }

    /// Returns the largest capacity of the default quota and the rules.
    pub(crate) fn largest_capacity(&self) -> u32 {
        let rules = self.rules.values().map(|rule| rule.capacity);
        let default = self.default.iter().map(|default| default.capacity);
        default.chain(rules).max().unwrap_or(0)
    }

    /// Removes the default quota and the rules, which are overrides of it.
    pub(crate) fn without_default(self) -> EffectiveConfig {
        EffectiveConfig {
            default: None,
            rules: BTreeMap::new(),
            ..self
        }
    }

    /// Renames the clients of rules.
    pub(crate) fn with_names(self, name: impl Fn(String) -> String) -> EffectiveConfig {
        let rules = self.rules.into_iter();
        EffectiveConfig {
            rules: rules.map(|(client, quota)| (name(client), quota)).collect(),
            ..self
        }
    }

    /// Adds the longest wait of a request.
    pub(crate) fn with_delay(self, delay: Option<Duration>) -> EffectiveConfig {
        let delay = delay.map(|delay| delay.as_secs_f64());
        EffectiveConfig { delay, ..self }
    }

    /// Adds the quotas of routes.
    pub(crate) fn with_routes(self, routes: BTreeMap<String, QuotaView>) -> EffectiveConfig {
        EffectiveConfig { routes, ..self }
    }

    /// Adds the named limits.
    pub(crate) fn with_limits(self, limits: BTreeMap<String, LimitView>) -> EffectiveConfig {
        EffectiveConfig { limits, ..self }
    }
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> QuotaView {
        let every = quota.is_interval().then(|| quota.period());
        QuotaView {
            capacity: quota.capacity(),
            refill_rate: quota.tokens_per_second(),
            mode: if every.is_some() {
                "interval"
            } else {
                "greedy"
            },
            every: every.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl UpdateError {
    /// Returns the error of the file with the names of clients that have rules.
    pub(super) fn names(error: io::Error) -> UpdateError {
        UpdateError::State(format!("names of clients with rules: {error}"))
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Quota(error) => error.fmt(f),
            UpdateError::TooManyRules(most) => write!(f, "expected at most {most} rules"),
            UpdateError::Redis(error) => error.fmt(f),
            UpdateError::State(error) => f.write_str(error),
        }
    }
}
