//! The one reader of quotas in the configuration: of the default, of a route and of a rule.
//!
//! A quota is written as `capacity` with `refill_rate` or `refill`, as `tokens` with `time`, or as
//! `quota`. Every place takes all of these keys.

use std::time::Duration;

use tollgate::{Quota, QuotaError};

use super::file::{File, Mode, Refill, Route, Rule};
use crate::{
    cli::Serve,
    values::{Rate, Tokens},
};

const DEFAULT_CAPACITY: u32 = 10;
const DEFAULT_RATE: f64 = 1.0;

/// Combinations of keys that define a whole quota.
const COMPLETE: [&[&str]; 4] = [
    &["capacity", "refill_rate"],
    &["capacity", "refill"],
    &["tokens", "time"],
    &["quota"],
];

/// The keys of a file, or of a table in it, that define a quota.
#[derive(Clone, Copy)]
struct Keys {
    capacity: Option<Tokens>,
    refill_rate: Option<Rate>,
    refill: Option<Refill>,
    tokens: Option<Tokens>,
    time: Option<Duration>,
    quota: Option<Quota>,
}

/// A refill, and the key that an error names when the refill does not fit the capacity.
enum RefillSource {
    Rate(&'static str, f64),
    Greedy {
        tokens: Option<u32>,
        every: Duration,
    },
    Interval(&'static str, Duration),
    Quota(Quota),
}

/// Reads the default quota. Flags override the file: a quota all of its keys, a capacity or a rate
/// one of them. The rate of a flag is greedy, also when the file's refill is an interval. Defaults
/// complete a lone `capacity`, `refill_rate` or `refill`.
pub(super) fn of_default(file: &File, flags: &Serve) -> Result<Quota, String> {
    let keys = Keys::of_file(file);
    match keys.names()[..] {
        [] | ["capacity" | "refill_rate" | "refill"] => {}
        _ => keys.check_complete()?,
    }
    match (flags.quota, flags.capacity, flags.refill_rate) {
        (None, capacity, rate) => keys.read(capacity, rate),
        (Some(quota), None, None) => Ok(quota),
        (Some(_), capacity, _) => Err(format!(
            "quota: expected no other flag or variable of the default quota, got {} beside it",
            if capacity.is_some() {
                "capacity"
            } else {
                "refill_rate"
            }
        )),
    }
}

/// Returns true if the file or the flags contain a key of the default quota.
pub(super) fn is_given(file: &File, flags: &Serve) -> bool {
    let has_flag = flags.quota.is_some() || flags.capacity.is_some() || flags.refill_rate.is_some();
    has_flag || !Keys::of_file(file).names().is_empty()
}

/// Reads a route's own quota. No part of it comes from the default. `None`: the route has no quota
/// of its own.
pub(super) fn of_route(route: &Route) -> Result<Option<Quota>, String> {
    let keys = Keys {
        capacity: route.capacity,
        refill_rate: route.refill_rate,
        refill: route.refill,
        quota: route.quota,
        tokens: route.tokens,
        time: route.time.map(|time| time.get()),
    };
    if keys.names().is_empty() {
        return Ok(None);
    }
    keys.check_complete()?;
    keys.read(None, None).map(Some)
}

/// Reads a rule's quota. No part of it comes from the default.
pub(super) fn of_rule(rule: &Rule) -> Result<Quota, String> {
    let keys = Keys {
        capacity: rule.capacity,
        refill_rate: rule.refill_rate,
        refill: rule.refill,
        quota: rule.quota,
        tokens: rule.tokens,
        time: rule.time.map(|time| time.get()),
    };
    keys.check_complete()?;
    keys.read(None, None)
}

impl Keys {
    fn of_file(file: &File) -> Keys {
        Keys {
            capacity: file.capacity,
            refill_rate: file.refill_rate,
            refill: file.refill,
            quota: file.quota,
            tokens: file.tokens,
            time: file.time.map(|time| time.get()),
        }
    }

    fn read(self, capacity: Option<Tokens>, rate: Option<Rate>) -> Result<Quota, String> {
        let given = capacity
            .or(self.capacity)
            .or(self.tokens)
            .map(|tokens| tokens.get());
        let capacity = given
            .or(self.quota.map(|quota| quota.capacity()))
            .unwrap_or(DEFAULT_CAPACITY);
        let at = |key: &'static str| move |error: QuotaError| format!("{key}: {error}");
        match self.refill_source(rate)? {
            RefillSource::Rate(key, rate) => Quota::from_rate(capacity, rate).map_err(at(key)),
            RefillSource::Greedy { tokens, every } => {
                Quota::new(capacity, tokens.unwrap_or(capacity).into(), every).map_err(at("refill"))
            }
            RefillSource::Interval(key, every) => {
                Quota::try_interval(capacity, every).map_err(at(key))
            }
            RefillSource::Quota(quota) => given
                .map_or(Ok(quota), |capacity| quota.try_with_capacity(capacity))
                .map_err(at("quota")),
        }
    }

    fn refill_source(self, flag: Option<Rate>) -> Result<RefillSource, String> {
        if let Some(rate) = flag.or(self.refill_rate) {
            return Ok(RefillSource::Rate("refill_rate", rate.per_second()));
        }
        if let Some(Refill {
            mode,
            tokens,
            every,
        }) = self.refill
        {
            let (every, tokens) = (every.get(), tokens.map(|tokens| tokens.get()));
            return match (mode, tokens) {
                (Mode::Interval, Some(_)) => Err(
                    "refill.tokens: expected mode = \"greedy\" beside it, got \"interval\", which refills the whole capacity"
                        .to_owned(),
                ),
                (Mode::Interval, None) => Ok(RefillSource::Interval("refill.every", every)),
                (Mode::Greedy, tokens) => Ok(RefillSource::Greedy { tokens, every }),
            };
        }
        Ok(match (self.time, self.quota) {
            (Some(time), _) => RefillSource::Interval("time", time),
            (None, Some(quota)) => RefillSource::Quota(quota),
            (None, None) => RefillSource::Rate("refill_rate", DEFAULT_RATE),
        })
    }

    /// Returns the names of the keys that are present.
    fn names(self) -> Vec<&'static str> {
        let keys = [
            ("capacity", self.capacity.is_some()),
            ("refill_rate", self.refill_rate.is_some()),
            ("refill", self.refill.is_some()),
            ("tokens", self.tokens.is_some()),
            ("time", self.time.is_some()),
            ("quota", self.quota.is_some()),
        ];
        keys.iter()
            .filter(|(_, is_present)| *is_present)
            .map(|(name, _)| *name)
            .collect()
    }

    fn check_complete(self) -> Result<(), String> {
        match &self.names()[..] {
            ["tokens"] => Err("time: expected with tokens, got none".to_owned()),
            ["time"] => Err("tokens: expected with time, got none".to_owned()),
            names if COMPLETE.contains(&names) => Ok(()),
            names => {
                let given = match names {
                    [] => "quota".to_owned(),
                    names => names.join(", "),
                };
                Err(format!(
                    "{given}: expected one definition: capacity with refill_rate or refill, or tokens with time, or quota"
                ))
            }
        }
    }
}
