//! The default quota, out of the several ways to say it.

use std::time::Duration;

use tollgate::{Quota, QuotaError};

use super::{
    file::{File, Mode, Refill},
    kinds::{Period, Rate, Tokens},
};

const DEFAULT_CAPACITY: u32 = 10;

/// Where the refill comes from, and the key to name when it does not fit the capacity.
enum Source {
    Rate(&'static str, f64),
    Greedy { tokens: Option<u32>, every: Duration },
    Interval(&'static str, Duration),
    Quota(Quota),
}

/// What flags or the environment say, over what the file says. A flag's rate is greedy, whatever the file's mode.
pub(super) fn of(file: &File, capacity: Option<Tokens>, rate: Option<Rate>) -> Result<Quota, String> {
    one_way(file)?;
    let in_file = file.capacity.as_ref().or(file.tokens.as_ref()).map(|tokens| tokens.0);
    let given = capacity.or(in_file).map(|tokens| tokens.0);
    let capacity = given.or(file.quota.map(|quota| quota.get_capacity())).unwrap_or(DEFAULT_CAPACITY);
    let fits = |key: &'static str| move |error: QuotaError| format!("{key}: {error}");
    match source(file, rate)? {
        Source::Rate(key, rate) => Quota::from_rate(capacity, rate).map_err(fits(key)),
        Source::Greedy { tokens, every } => {
            Quota::new(capacity, tokens.unwrap_or(capacity).into(), every).map_err(fits("refill"))
        }
        Source::Interval(key, every) => Quota::try_interval(capacity, every).map_err(fits(key)),
        Source::Quota(quota) => given.map_or(Ok(quota), |capacity| quota.try_capacity(capacity)).map_err(fits("quota")),
    }
}

fn source(file: &File, flag: Option<Rate>) -> Result<Source, String> {
    let in_file = file.refill_rate.as_ref().map(|rate| rate.0);
    if let Some(Rate(rate)) = flag.or(in_file) {
        return Ok(Source::Rate("refill_rate", rate));
    }
    if let Some(refill) = &file.refill {
        let Refill { mode, tokens, every: Period(every) } = refill.0;
        return match (mode, tokens) {
            (Mode::Interval, Some(_)) => {
                Err("refill.tokens: expected with mode = \"greedy\" only: an interval gives the whole capacity back"
                    .to_owned())
            }
            (Mode::Interval, None) => Ok(Source::Interval("refill.every", every)),
            (Mode::Greedy, tokens) => Ok(Source::Greedy { tokens: tokens.map(|tokens| tokens.0), every }),
        };
    }
    Ok(match (&file.time, file.quota) {
        (Some(time), _) => Source::Interval("time", time.0.0),
        (None, Some(quota)) => Source::Quota(quota),
        (None, None) => Source::Rate("refill_rate", 1.0),
    })
}

/// A file says it in one way.
fn one_way(file: &File) -> Result<(), String> {
    let here = [
        ("capacity", file.capacity.is_some()),
        ("refill_rate", file.refill_rate.is_some()),
        ("refill", file.refill.is_some()),
        ("tokens", file.tokens.is_some()),
        ("time", file.time.is_some()),
        ("quota", file.quota.is_some()),
    ];
    const TOGETHER: [[&str; 2]; 3] = [["capacity", "refill_rate"], ["capacity", "refill"], ["tokens", "time"]];
    let given: Vec<&str> = here.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
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
