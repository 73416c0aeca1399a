//! The `X-RateLimit-*` headers, the de facto standard.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};

use super::decimal::{decimal, whole_seconds};
use crate::{
    DecisionView,
    tower::{media_type::JSON, retry_after::reset_after},
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
pub(super) static NAMES: [HeaderName; 3] = [LIMIT, REMAINING, RESET];

/// Form of `X-RateLimit-Reset`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reset {
    /// Seconds until the bucket is full.
    After,
    /// Unix time at which it is full.
    At,
}

/// Adds the headers that `headers` does not contain yet.
pub(super) fn add(decision: &DecisionView, reset: Reset, headers: &mut HeaderMap) {
    let has_any = headers.keys().any(|name| NAMES.contains(name));
    for (name, value) in NAMES.iter().zip(values(decision, reset)) {
        if has_any {
            headers.entry(name).or_insert_with(|| decimal(value));
        } else {
            // The common case; `insert` is cheaper than `entry`.
            headers.insert(name, decimal(value));
        }
    }
}

/// Returns a map of the headers, JSON's `Content-Type`, and `Retry-After` if there is one: cloning a map and replacing its values
/// costs less than hashing the names again.
pub(super) fn with_json(
    decision: &DecisionView,
    reset: Reset,
    retry_after: Option<u64>,
) -> HeaderMap {
    static ALLOWED: LazyLock<HeaderMap> = LazyLock::new(|| template(None));
    // A fifth header would move the four of the other one.
    static REFUSED: LazyLock<HeaderMap> = LazyLock::new(|| template(Some(RETRY_AFTER)));
    let template = if retry_after.is_some() {
        &REFUSED
    } else {
        &ALLOWED
    };
    let mut headers = HeaderMap::clone(template);
    // A header map iterates in insertion order.
    let mut slots = headers.values_mut();
    for (value, slot) in values(decision, reset).into_iter().zip(slots.by_ref()) {
        *slot = decimal(value);
    }
    if let (Some(slot), Some(seconds)) = (slots.last(), retry_after) {
        *slot = decimal(seconds);
    }
    headers
}

/// Returns the header names of [`with_json`] with empty values, and the content type.
fn template(retry_after: Option<HeaderName>) -> HeaderMap {
    let empty = |name| (name, HeaderValue::from_static(""));
    let limits = [LIMIT, REMAINING, RESET].map(empty).into_iter();
    limits
        .chain([(CONTENT_TYPE, HeaderValue::from_static(JSON))])
        .chain(retry_after.map(empty))
        .collect()
}

/// Values of [`NAMES`], in the same order.
fn values(decision: &DecisionView, reset: Reset) -> [u64; 3] {
    let reset_after = reset_after(decision);
    let reset = match reset {
        Reset::After => whole_seconds(reset_after),
        Reset::At => {
            // A clock before 1970 counts as 1970.
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            whole_seconds(now.unwrap_or_default().saturating_add(reset_after))
        }
    };
    [decision.limit().into(), decision.remaining().into(), reset]
}
