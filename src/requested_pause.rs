//! Pause that the headers of a response ask of the client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap,
    header::{DATE, HeaderValue, RETRY_AFTER},
};
use sfv::{BareItem, Dictionary, List, ListEntry, Parser};

/// Longest pause. Longer requests are rare, and mistakes or attacks more often than not: the client
/// asks again after a day.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Pairs of fields: the remaining requests, and the time of the next ones.
const COUNTERS: [(&str, &str); 3] = [
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
];

/// Smaller numbers are seconds from now: 31 years. Others are points in time: 2001 and later.
const FIRST_EPOCH: u64 = 1_000_000_000;
/// Points in time from this number on are milliseconds. In seconds it is the year 33658.
const FIRST_EPOCH_MILLIS: u64 = 1_000_000_000_000;

/// Returns the pause that a response asks for, from now on; see
/// [`Bucket::pause_from_headers`](crate::Bucket::pause_from_headers).
pub(crate) fn requested_pause(headers: &HeaderMap) -> Option<Duration> {
    pause_at(headers, SystemTime::now())
}

fn pause_at(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    // By the clock that wrote the other times, if it is known.
    let sent = headers.get(DATE).and_then(|date| epoch_of(text(date)?));
    let sent = sent.unwrap_or_else(|| now.duration_since(UNIX_EPOCH).unwrap_or_default());

    let delays = headers.get_all(RETRY_AFTER).iter();
    let delays = delays.filter_map(|value| retry_after(text(value)?, sent));
    let policies = headers.get_all("ratelimit").iter().filter_map(rate_limit);
    let counters = COUNTERS.iter().flat_map(|&(remaining, reset)| {
        let (remaining, reset) = (headers.get_all(remaining), headers.get_all(reset));
        let used_up = remaining
            .iter()
            .zip(reset)
            .filter(|(remaining, _)| text(remaining).and_then(number) == Some(Duration::ZERO));
        used_up.filter_map(|(_, reset)| until_reset(text(reset)?, sent))
    });

    let longest = delays.chain(policies).chain(counters).max()?;
    (!longest.is_zero()).then_some(longest.min(MAX_PAUSE))
}

/// `120`, or `Wed, 21 Oct 2015 07:28:00 GMT`
fn retry_after(text: &str, sent: Duration) -> Option<Duration> {
    number(text).or_else(|| Some(epoch_of(text)?.saturating_sub(sent)))
}

/// `30` seconds from now, or the point in time `1445412480`, also in milliseconds
fn until_reset(text: &str, sent: Duration) -> Option<Duration> {
    let reset = number(text)?;
    Some(match reset.as_secs() {
        ..FIRST_EPOCH => reset,
        FIRST_EPOCH..FIRST_EPOCH_MILLIS => reset.saturating_sub(sent),
        FIRST_EPOCH_MILLIS.. => (reset / 1000).saturating_sub(sent),
    })
}

/// `"default";r=0;t=30`, or `limit=100, remaining=0, reset=30` of drafts before the eighth
fn rate_limit(value: &HeaderValue) -> Option<Duration> {
    if let Ok(policies) = Parser::new(value).parse::<List>() {
        let policies = policies.iter().filter_map(|policy| match policy {
            ListEntry::Item(policy) => used_up(policy.params.get("r"), policy.params.get("t")),
            ListEntry::InnerList(_) => None,
        });
        return policies.max();
    }
    let fields = Parser::new(value).parse::<Dictionary>().ok()?;
    let field = |name| match fields.get(name)? {
        ListEntry::Item(field) => Some(&field.bare_item),
        ListEntry::InnerList(_) => None,
    };
    used_up(field("remaining"), field("reset"))
}

/// Returns the time until the reset when nothing remains.
fn used_up(remaining: Option<&BareItem>, reset: Option<&BareItem>) -> Option<Duration> {
    let integer = |item: Option<&BareItem>| item?.as_integer().map(i64::from);
    let seconds = u64::try_from(integer(reset)?).ok()?;
    (integer(remaining) == Some(0)).then_some(Duration::from_secs(seconds))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

/// Parses a decimal number of seconds without a sign or an exponent, of any length.
fn number(text: &str) -> Option<Duration> {
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let seconds = text.parse().ok()?;
    // It is no negative number, so it can only be too large.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Parses an HTTP date as the time since the Unix epoch.
fn epoch_of(text: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests;
