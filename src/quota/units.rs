//! Units of quota texts: of periods, and of numbers of tokens. Letters are in any case.

use super::{DAY, HOUR, MICROSECOND, MINUTE, SECOND};

const MILLISECOND: u64 = 1_000 * MICROSECOND;

/// Names of the units of a period, and their lengths in nanoseconds. A plural `s` is accepted after
/// names of more than two letters.
const PERIODS: [(&[&str], u64); 10] = [
    (&["s", "sec", "second"], SECOND),
    (&["m", "min", "minute"], MINUTE),
    (&["h", "hr", "hrs", "hour"], HOUR),
    (&["d", "day"], DAY),
    (&["w", "wk", "wks", "week"], 7 * DAY),
    (&["mo", "month"], 30 * DAY),
    (&["y", "yr", "yrs", "year"], 365 * DAY),
    (&["ms", "msec", "millisecond"], MILLISECOND),
    (&["us", "usec", "microsecond"], MICROSECOND),
    (&["ns", "nsec", "nanosecond"], 1),
];

/// Names of what a number of tokens counts, and the number of tokens in one. A plural `s` is
/// accepted after names of more than two letters.
const COUNTED: [(&[&str], u64); 8] = [
    (&["r", "req", "request", "token"], 1),
    (&["B", "byte"], 1),
    (&["kB"], 1_000),
    (&["MB"], 1_000_000),
    (&["GB"], 1_000_000_000),
    (&["KiB"], 1 << 10),
    (&["MiB"], 1 << 20),
    (&["GiB"], 1 << 30),
];

/// Returns the length of a unit of time in nanoseconds.
pub(super) fn nanos(name: &str) -> Option<u64> {
    find(&PERIODS, name)
}

/// Returns the number of tokens in a unit of them.
pub(super) fn counted(name: &str) -> Option<u64> {
    find(&COUNTED, name)
}

fn find(units: &[(&[&str], u64)], name: &str) -> Option<u64> {
    let is_name = |known: &str| {
        let (start, rest) = name.split_at_checked(known.len()).unwrap_or((name, "none"));
        let is_plural = known.len() > 2 && rest.eq_ignore_ascii_case("s");
        start.eq_ignore_ascii_case(known) && (rest.is_empty() || is_plural)
    };
    units
        .iter()
        .find(|(names, _)| names.iter().any(|known| is_name(known)))
        .map(|(_, value)| *value)
}
