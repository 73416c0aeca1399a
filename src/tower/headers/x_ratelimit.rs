//! The `X-RateLimit-*` headers, the de facto standard.

use std::sync::LazyLock;

use http::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
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

/// Adds the headers that `headers` does not contain yet.
pub(super) fn add(decision: &DecisionView, headers: &mut HeaderMap) {
    let has_any = headers.keys().any(|name| NAMES.contains(name));
    for (name, value) in NAMES.iter().zip(values(decision)) {
        if has_any {
            headers.entry(name).or_insert_with(|| decimal(value));
        } else {
            // The common case; `insert` is cheaper than `entry`.
            headers.insert(name, decimal(value));
        }
    }
}

/// Returns a map of the headers and JSON's `Content-Type`: cloning a map and replacing its values
/// costs less than hashing the names again.
pub(super) fn with_json(decision: &DecisionView) -> HeaderMap {
    static TEMPLATE: LazyLock<HeaderMap> = LazyLock::new(|| {
        let limits = [LIMIT, REMAINING, RESET].map(|name| (name, HeaderValue::from_static("")));
        limits
            .into_iter()
            .chain([(CONTENT_TYPE, HeaderValue::from_static(JSON))])
            .collect()
    });
    let mut headers = TEMPLATE.clone();
    // A header map iterates in insertion order.
    for (slot, value) in headers.values_mut().zip(values(decision)) {
        *slot = decimal(value);
    }
    headers
}

/// Values of [`NAMES`], in the same order.
fn values(decision: &DecisionView) -> [u64; 3] {
    [
        decision.limit().into(),
        decision.remaining().into(),
        whole_seconds(reset_after(decision)),
    ]
}
