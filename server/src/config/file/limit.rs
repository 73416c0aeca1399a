//! The table `[[limits]]` of the configuration file.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use tollgate::{Quota, QuotaError};

use super::refusal::Refusal;
use crate::{
    request::request_pattern::RequestPattern,
    values::{
        LimitKey, MaxClients, MaxDelay, Period, PolicyName, Tokens, Value, Whole, one_or_list,
        optional, optional_table, required,
    },
};

/// A limit: requests that match take tokens of a bucket of their key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    #[serde(deserialize_with = "required")]
    pub(crate) name: PolicyName,
    #[serde(default, rename = "match", deserialize_with = "one_or_list")]
    pub(crate) patterns: Option<Vec<RequestPattern>>,
    #[serde(default, deserialize_with = "one_or_list")]
    pub(crate) header: Option<Vec<HeaderCondition>>,
    #[serde(default, deserialize_with = "one_or_list")]
    pub(crate) key: Option<Vec<LimitKey>>,
    #[serde(default, deserialize_with = "quotas")]
    pub(crate) quota: Option<Vec<Quota>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) concurrency: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) delay: Option<MaxDelay>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) ban: Option<Ban>,
    #[serde(default)]
    pub(crate) cost: Option<Cost>,
    #[serde(default)]
    pub(crate) shadow: bool,
    #[serde(default, deserialize_with = "one_or_list")]
    pub(crate) instead_of: Option<Vec<PolicyName>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) missing: Option<Missing>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_clients: Option<MaxClients>,
    #[serde(default)]
    pub(crate) ignore_case: Option<bool>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) refusal: Option<Refusal>,
    #[serde(default, rename = "charge_on")]
    _charge_on: Option<Unsupported>,
    #[serde(default, rename = "strict")]
    _strict: Option<Unsupported>,
}

/// Ban of a key that is refused too often.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ban {
    /// Refusals before the one that begins the ban.
    #[serde(deserialize_with = "required")]
    pub(crate) after: Tokens,
    #[serde(deserialize_with = "required")]
    pub(crate) within: Period,
    #[serde(rename = "for", deserialize_with = "required")]
    pub(crate) time: Period,
}

/// Cost in tokens, where 0 takes nothing.
pub(crate) type LimitCost = Whole<0, { u32::MAX as u64 }>;

/// Cost of the requests to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Same(LimitCost),
    /// By the pattern that describes a request most closely.
    ByPattern(Vec<(RequestPattern, LimitCost)>),
}

/// Condition on a header: that the request has it, or has it with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderCondition {
    pub(crate) name: HeaderName,
    pub(crate) value: Option<HeaderValue>,
}

/// What happens to a request without the key of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It gets 401.
    #[default]
    Refused,
    /// The limit does not apply to it.
    Skipped,
}

/// A key of the file that a later version may support.
#[derive(Clone, Debug)]
pub(crate) struct Unsupported;

impl Value for HeaderCondition {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header with a value, such as \"X-Client: mobile\", or its name alone")
    }

    fn from_text(text: &str) -> Option<HeaderCondition> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(HeaderValue::from_str(value.trim()).ok()?)),
            None => (text, None),
        };
        let name = HeaderName::from_text(name.trim())?;
        Some(HeaderCondition { name, value })
    }
}

impl fmt::Display for HeaderCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(
                f,
                "{}: {}",
                self.name,
                String::from_utf8_lossy(value.as_bytes())
            ),
            None => self.name.fmt(f),
        }
    }
}

impl Value for Missing {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"401\" or \"skip\"")
    }

    fn from_integer(number: u64) -> Option<Missing> {
        (number == 401).then_some(Missing::Refused)
    }

    fn from_text(text: &str) -> Option<Missing> {
        match text {
            "401" => Some(Missing::Refused),
            "skip" => Some(Missing::Skipped),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Unsupported, D::Error> {
        Err(de::Error::custom("not supported yet"))
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cost, D::Error> {
        deserializer.deserialize_any(CostVisitor)
    }
}

struct CostVisitor;

impl<'de> de::Visitor<'de> for CostVisitor {
    type Value = Cost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number of tokens, or a table of patterns such as { \"POST *\" = 5, \"*\" = 1 }",
        )
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cost, E> {
        let cost = u64::try_from(number).ok().and_then(LimitCost::from_integer);
        let rejected = || E::invalid_value(de::Unexpected::Signed(number), &self);
        cost.map(Cost::Same).ok_or_else(rejected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cost, E> {
        let rejected = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
        let cost = LimitCost::from_integer(number);
        cost.map(Cost::Same).ok_or_else(rejected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cost, E> {
        Err(match text.split_once(':') {
            Some(("header", _)) => E::custom("a cost from a response is not supported yet"),
            _ if text == "response-bytes" => {
                E::custom("a cost from a response is not supported yet")
            }
            _ => E::invalid_value(de::Unexpected::Str(text), &self),
        })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Cost, A::Error> {
        let (mut costs, mut other_key) = (Vec::new(), None);
        while let Some(text) = map.next_key::<String>()? {
            if text == "of" {
                return Err(de::Error::custom(
                    "a cost from a response is not supported yet",
                ));
            }
            if let Some(pattern) = RequestPattern::from_text(&text) {
                let cost = map.next_value::<CostValue>()?;
                costs.push((pattern, cost.0));
            } else {
                // The key `of` may follow: keys are in the order of the file, or sorted.
                map.next_value::<de::IgnoredAny>()?;
                other_key.get_or_insert(text);
            }
        }
        match other_key {
            None => Ok(Cost::ByPattern(costs)),
            Some(text) => Err(de::Error::custom(format!(
                "{text:?}: expected methods and a path, such as \"POST /search\""
            ))),
        }
    }
}

#[derive(Deserialize)]
struct CostValue(#[serde(deserialize_with = "required")] LimitCost);

/// Deserializes one quota or a list of quotas.
fn quotas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Quota>>, D::Error> {
    struct QuotasVisitor;

    impl<'de> de::Visitor<'de> for QuotasVisitor {
        type Value = Vec<Quota>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a quota such as \"100/hour, capacity 20\", or a list of quotas")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Quota>, E> {
            let rejected = |error: QuotaError| {
                let error = error.to_string();
                let error = error.strip_prefix("quota: ").unwrap_or(&error);
                E::custom(format!("{text:?}: {error}"))
            };
            text.parse().map(|quota| vec![quota]).map_err(rejected)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Quota>, A::Error> {
            let mut quotas = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                quotas.extend(QuotasVisitor.visit_str(&text)?);
            }
            Ok(quotas)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Vec<Quota>, A::Error> {
            // A quota of its own keys, such as { capacity = 5, every = "1s" }.
            let quota = Quota::deserialize(MapAccessDeserializer::new(map)).map_err(|_| {
                de::Error::custom("expected a text; a quota by plan is not supported yet")
            })?;
            Ok(vec![quota])
        }
    }

    deserializer.deserialize_any(QuotasVisitor).map(Some)
}
