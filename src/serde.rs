//! Quotas in configuration files (feature `serde`): as the text a quota prints, or as a table of
//! its fields.

use core::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::quota::{Quota, text::Input};

/// As the text it prints.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From what people write in configuration files (feature `serde`):
///
/// | form | means |
/// | --- | --- |
/// | `"100/hour, capacity 20"` | what `parse` reads |
/// | `{capacity = 10, refill_rate = 0.5}` | tokens a second, fractions allowed |
/// | `{capacity = 10, refill = {tokens = 5, every = "1m"}}` | so many per period; without `tokens`, the capacity |
/// | `{capacity = 10, refill = {every = "1h", mode = "interval"}}` | all back at once |
/// | `{tokens = 100, time = 3600}` | 100, all back at once after so many seconds |
///
/// Each table may have a `debt` as well. A duration is a text such as `"1h"` or `"90s"`, or a
/// number of seconds.
///
/// ```
/// use tollgate::Quota;
///
/// #[derive(serde::Deserialize)]
/// struct Limits {
///     uploads: Quota,
///     logins: Quota,
/// }
/// let limits: Limits = toml::from_str(
///     r#"
///     uploads = "5/second, capacity 10"
///     logins = { capacity = 3, refill = { every = "1h", mode = "interval" } }
///     "#,
/// )?;
/// assert_eq!(limits.uploads, Quota::per_second(5).with_capacity(10));
/// assert_eq!(limits.logins.to_string(), "3 per hour, all at once");
/// # Ok::<(), toml::de::Error>(())
/// ```
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quota, D::Error> {
        deserializer.deserialize_any(QuotaVisitor)
    }
}

struct QuotaVisitor;

impl<'de> Visitor<'de> for QuotaVisitor {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a quota such as \"100/hour, capacity 20\" or { capacity = 10, refill_rate = 0.5 }",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map))?.quota()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    capacity: Option<u32>,
    #[serde(alias = "refill-rate")]
    refill_rate: Option<f64>,
    refill: Option<Refill>,
    tokens: Option<u32>,
    time: Option<Period>,
    debt: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refill {
    tokens: Option<u64>,
    every: Period,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Greedy,
    Interval,
}

impl Fields {
    fn quota<E: Error>(self) -> Result<Quota, E> {
        let quota = match self {
            Fields {
                tokens: Some(tokens),
                time: Some(Period(time)),
                capacity: None,
                refill_rate: None,
                refill: None,
                ..
            } => Quota::try_interval(tokens, time),
            Fields {
                tokens: None,
                time: None,
                capacity: Some(capacity),
                refill_rate: Some(rate),
                refill: None,
                ..
            } => Quota::from_rate(capacity, rate),
            Fields {
                tokens: None,
                time: None,
                capacity: Some(capacity),
                refill_rate: None,
                refill: Some(refill),
                ..
            } => {
                let tokens = refill.tokens.unwrap_or(capacity.into());
                match refill.mode {
                    Mode::Greedy => Quota::new(capacity, tokens, refill.every.0),
                    Mode::Interval if tokens == u64::from(capacity) => {
                        Quota::try_interval(capacity, refill.every.0)
                    }
                    Mode::Interval => {
                        return Err(E::custom(
                            "refill.tokens: in the mode interval the capacity comes back",
                        ));
                    }
                }
            }
            _ => {
                return Err(E::custom(
                    "a quota is either capacity and refill_rate, or capacity and refill, or tokens and time",
                ));
            }
        };
        let quota = quota.map_err(E::custom)?;
        self.debt
            .map_or(Ok(quota), |debt| quota.try_with_debt(debt))
            .map_err(E::custom)
    }
}

struct Period(Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"1h\" or a positive number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        let mut input = Input { text, at: 0 };
        let nanos = input
            .period_nanos()
            .and_then(|nanos| input.end("a count or the end").map(|()| nanos))
            .map_err(E::custom)?;
        // Longer than 64 bits is longer than a century, which the quota refuses.
        Ok(Period(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        )))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
        Ok(Period(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Period, E> {
        let seconds = u64::try_from(seconds)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))?;
        self.visit_u64(seconds)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Period, E> {
        let period = Duration::try_from_secs_f64(seconds);
        period
            .map(Period)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }
}
