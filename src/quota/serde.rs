//! Serde support (feature `serde`): a quota as its text form or as a table of fields.

use core::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Quota, text::Cursor};

/// Serializes as the text form of the quota.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Deserializes from the forms used in configuration files (feature `serde`):
///
/// | form | meaning |
/// | --- | --- |
/// | `"100/hour, capacity 20"` | text form, as for `parse` |
/// | `{capacity = 10, refill_rate = 0.5}` | rate in tokens a second, fractions allowed |
/// | `{capacity = 10, refill = {tokens = 5, every = "1m"}}` | tokens per period; the default of `tokens` is the capacity |
/// | `{capacity = 10, refill = {every = "1h", mode = "interval"}}` | all tokens refill at once, at the end of a window |
/// | `{tokens = 100, time = 3600}` | 100 tokens per window of `time` seconds, all refilled at once |
///
/// A duration is a text such as `"1h"` or `"90s"`, or a number of
/// seconds.
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
            } => Quota::try_interval(tokens, time),
            Fields {
                tokens: None,
                time: None,
                capacity: Some(capacity),
                refill_rate: Some(rate),
                refill: None,
            } => Quota::from_rate(capacity, rate),
            Fields {
                tokens: None,
                time: None,
                capacity: Some(capacity),
                refill_rate: None,
                refill: Some(refill),
            } => {
                let tokens = refill.tokens.unwrap_or(capacity.into());
                match refill.mode {
                    Mode::Greedy => Quota::new(capacity, tokens, refill.every.0),
                    Mode::Interval if tokens == u64::from(capacity) => {
                        Quota::try_interval(capacity, refill.every.0)
                    }
                    Mode::Interval => {
                        return Err(E::custom(format_args!(
                            "refill.tokens: expected {capacity} (the capacity) in mode \"interval\", got {tokens}"
                        )));
                    }
                }
            }
            _ => {
                return Err(E::custom(
                    "quota: expected capacity and refill_rate, capacity and refill, or tokens and time",
                ));
            }
        };
        quota.map_err(E::custom)
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
        let mut input = Cursor::new(text);
        let nanos = input
            .period_nanos()
            .and_then(|nanos| input.end("a count or the end").map(|()| nanos))
            .map_err(E::custom)?;
        // A period above 64 bits is longer than a century, which the quota refuses.
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
