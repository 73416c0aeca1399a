//! The fields that clients have known for long: `X-RateLimit-*`.

use std::sync::LazyLock;

use http::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::number::number;
use crate::{
    Decision,
    tower::{refusal::JSON, seconds::whole},
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
pub(super) static NAMES: [HeaderName; 3] = [LIMIT, REMAINING, RESET];

/// Adds them, but for those that are there already.
pub(super) fn add(decision: &Decision, headers: &mut HeaderMap) {
    let is_there = headers.keys().any(|name| NAMES.contains(name));
    for (name, value) in NAMES.iter().zip(numbers(decision)) {
        if is_there {
            headers.entry(name).or_insert_with(|| number(value));
        } else {
            // The common case, and the cheaper way.
            headers.insert(name, number(value));
        }
    }
}

/// A map of them and the type of JSON: to copy it and fill in the values costs less than to hash
/// the names again.
pub(super) fn with_json(decision: &Decision) -> HeaderMap {
    static NAMED: LazyLock<HeaderMap> = LazyLock::new(|| {
        let limits = [LIMIT, REMAINING, RESET].map(|name| (name, HeaderValue::from_static("")));
        limits
            .into_iter()
            .chain([(CONTENT_TYPE, HeaderValue::from_static(JSON))])
            .collect()
    });
    let mut headers = NAMED.clone();
    // They come in the order in which they were put in.
    for (place, value) in headers.values_mut().zip(numbers(decision)) {
        *place = number(value);
    }
    headers
}

fn numbers(decision: &Decision) -> [u64; 3] {
    [
        decision.limit().into(),
        decision.remaining().into(),
        whole(decision.reset_after()),
    ]
}
