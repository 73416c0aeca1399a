//! The parts of a quota: tokens, rates and refill periods.

use std::{fmt, time::Duration};

use tollgate::Quota;

use super::parse::Value;

const MIN_PERIOD: Duration = Duration::from_micros(1);
/// A century: the longest refill period of a quota.
const MAX_PERIOD: Duration = Duration::from_secs(36_525 * 86_400);

/// A number of tokens: a bucket's capacity, or a request's cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens(u32);

impl Tokens {
    pub(crate) const ONE: Tokens = Tokens(1);

    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl Value for Tokens {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 1 to {}", u32::MAX)
    }

    fn from_integer(number: u64) -> Option<Tokens> {
        u32::try_from(number)
            .ok()
            .filter(|&tokens| tokens > 0)
            .map(Tokens)
    }
}

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    pub(crate) fn per_second(self) -> f64 {
        self.0
    }
}

impl Value for Rate {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens per second, a number from 3.17e-10 (one a century) to 1000000000")
    }

    fn from_float(number: f64) -> Option<Rate> {
        Quota::from_rate(1, number).is_ok().then_some(Rate(number))
    }
}

/// A refill period: a number of seconds, or text such as `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(Duration);

impl Period {
    pub(crate) fn get(self) -> Duration {
        self.0
    }

    fn checked(period: Duration) -> Option<Period> {
        (MIN_PERIOD..=MAX_PERIOD)
            .contains(&period)
            .then_some(Period(period))
    }
}

impl Value for Period {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a time such as \"1h\" or a number of seconds, from 1 µs to a century (36525 days)",
        )
    }

    fn from_float(seconds: f64) -> Option<Period> {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(Period::checked)
    }

    fn from_text(text: &str) -> Option<Period> {
        let period = as_in_a_quota(text).or_else(|| humantime::parse_duration(text).ok());
        period.and_then(Period::checked)
    }
}

/// Parses a period as the library does in a quota, so that a month has the same length in both. An
/// `M` is left to humantime, which reads it as a month and not as a minute.
fn as_in_a_quota(text: &str) -> Option<Duration> {
    let table = serde_json::json!({"capacity": 1, "refill": {"every": text}});
    let quota: Option<Quota> = serde_json::from_value(table).ok();
    quota
        .filter(|_| !text.contains('M'))
        .map(|quota| quota.period())
}

/// A refill period that is a number of seconds; text is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(Period);

impl Seconds {
    pub(crate) fn get(self) -> Duration {
        self.0.get()
    }
}

impl Value for Seconds {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, from 0.000001 to 3155760000 (a century)")
    }

    fn from_float(seconds: f64) -> Option<Seconds> {
        Period::from_float(seconds).map(Seconds)
    }
}
