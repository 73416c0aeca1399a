//! A quota, out of the several ways to say it: the default, and that of a route.

use std::time::Duration;

use tollgate::{Quota, QuotaError};

use super::file::{File, Mode, Refill, Route};
use crate::values::{Period, Rate, Tokens};

const DEFAULT_CAPACITY: u32 = 10;

/// Where the refill comes from, and the key to name when it does not fit the capacity.
enum DecisionSource {
    Rate(&'static str, f64),
    Greedy {
        tokens: Option<u32>,
        every: Duration,
    },
    Interval(&'static str, Duration),
    Quota(Quota),
}

/// The keys of a file, or of a part of it, that say a quota.
#[derive(Clone, Copy)]
struct Given {
    capacity: Option<Tokens>,
    refill_rate: Option<Rate>,
    refill: Option<Refill>,
    quota: Option<Quota>,
    tokens: Option<Tokens>,
    time: Option<Duration>,
}

/// What flags or the environment say, over what the file says. A flag's rate is greedy, whatever
/// the file's mode.
pub(super) fn of(
    file: &File,
    capacity: Option<Tokens>,
    rate: Option<Rate>,
) -> Result<Quota, String> {
    let given = Given {
        capacity: file.capacity.as_ref().map(|tokens| tokens.0),
        refill_rate: file.refill_rate.as_ref().map(|rate| rate.0),
        refill: file.refill.as_ref().map(|refill| refill.0),
        quota: file.quota,
        tokens: file.tokens.as_ref().map(|tokens| tokens.0),
        time: file.time.as_ref().map(|time| time.0.0),
    };
    given.one_way()?;
    given.under(capacity, rate)
}

/// What a route says of its own, all of it: nothing comes from the default. `None`: nothing.
pub(super) fn of_route(route: &Route) -> Result<Option<Quota>, String> {
    let given = Given {
        capacity: route.capacity.as_ref().map(|tokens| tokens.0),
        refill_rate: route.refill_rate.as_ref().map(|rate| rate.0),
        refill: route.refill.as_ref().map(|refill| refill.0),
        quota: route.quota,
        tokens: None,
        time: None,
    };
    match given.keys()[..] {
        [] => Ok(None),
        ["capacity", "refill_rate" | "refill"] | ["quota"] => given.under(None, None).map(Some),
        ref keys => Err(format!(
            "{}: expected capacity with refill_rate or refill, or quota",
            keys.join(", ")
        )),
    }
}

impl Given {
    fn under(self, capacity: Option<Tokens>, rate: Option<Rate>) -> Result<Quota, String> {
        let given = capacity
            .or(self.capacity)
            .or(self.tokens)
            .map(|tokens| tokens.0);
        let capacity = given
            .or(self.quota.map(|quota| quota.capacity()))
            .unwrap_or(DEFAULT_CAPACITY);
        let fits = |key: &'static str| move |error: QuotaError| format!("{key}: {error}");
        match self.source(rate)? {
            DecisionSource::Rate(key, rate) => Quota::from_rate(capacity, rate).map_err(fits(key)),
            DecisionSource::Greedy { tokens, every } => {
                Quota::new(capacity, tokens.unwrap_or(capacity).into(), every)
                    .map_err(fits("refill"))
            }
            DecisionSource::Interval(key, every) => {
                Quota::try_interval(capacity, every).map_err(fits(key))
            }
            DecisionSource::Quota(quota) => given
                .map_or(Ok(quota), |capacity| quota.try_with_capacity(capacity))
                .map_err(fits("quota")),
        }
    }

    fn source(self, flag: Option<Rate>) -> Result<DecisionSource, String> {
        if let Some(Rate(rate)) = flag.or(self.refill_rate) {
            return Ok(DecisionSource::Rate("refill_rate", rate));
        }
        if let Some(Refill {
            mode,
            tokens,
            every: Period(every),
        }) = self.refill
        {
            return match (mode, tokens) {
                (Mode::Interval, Some(_)) => {
                    Err("refill.tokens: expected with mode = \"greedy\" only: an interval gives the whole capacity back"
                        .to_owned())
                }
                (Mode::Interval, None) => Ok(DecisionSource::Interval("refill.every", every)),
                (Mode::Greedy, tokens) => Ok(DecisionSource::Greedy { tokens: tokens.map(|tokens| tokens.0), every }),
            };
        }
        Ok(match (self.time, self.quota) {
            (Some(time), _) => DecisionSource::Interval("time", time),
            (None, Some(quota)) => DecisionSource::Quota(quota),
            (None, None) => DecisionSource::Rate("refill_rate", 1.0),
        })
    }

    /// Those that are there.
    fn keys(self) -> Vec<&'static str> {
        let here = [
            ("capacity", self.capacity.is_some()),
            ("refill_rate", self.refill_rate.is_some()),
            ("refill", self.refill.is_some()),
            ("tokens", self.tokens.is_some()),
            ("time", self.time.is_some()),
            ("quota", self.quota.is_some()),
        ];
        here.iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key)
            .collect()
    }

    /// A file says it in one way.
    fn one_way(self) -> Result<(), String> {
        const TOGETHER: [[&str; 2]; 3] = [
            ["capacity", "refill_rate"],
            ["capacity", "refill"],
            ["tokens", "time"],
        ];
        let given = self.keys();
        match given[..] {
            ["tokens"] => Err("time: missing: tokens and time belong together".to_owned()),
            ["time"] => Err("tokens: missing: tokens and time belong together".to_owned()),
            [] | [_] => Ok(()),
            _ if TOGETHER.iter().any(|keys| *keys == given[..]) => Ok(()),
            _ => Err(format!(
                "{}: expected one way to say it: capacity with refill_rate or refill, or tokens with time, or quota",
                given.join(", ")
            )),
        }
    }
}
