//! The fields that clients have known for long: `X-RateLimit-*`.

use std::sync::LazyLock;

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::number::number;
use crate::{Decision, tower::seconds::whole};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds them, but for those that are there already.
pub(super) fn add(decision: &Decision, headers: &mut HeaderMap) {
    let values = [decision.limit().into(), decision.remaining().into(), whole(decision.reset_after())].map(number);
    if headers.is_empty() {
        return begin(values, headers);
    }
    for (name, value) in [LIMIT, REMAINING, RESET].into_iter().zip(values) {
        headers.entry(name).or_insert(value);
    }
}

/// Of an answer that has no headers yet: to copy a map and fill in its values costs a quarter of what hashing their names does.
fn begin(values: [HeaderValue; 3], headers: &mut HeaderMap) {
    static NAMED: LazyLock<HeaderMap> =
        LazyLock::new(|| [LIMIT, REMAINING, RESET].map(|name| (name, HeaderValue::from_static(""))).into_iter().collect());
    headers.clone_from(&NAMED);
    // They come in the order in which they were put in.
    for (place, value) in headers.values_mut().zip(values) {
        *place = value;
    }
}
