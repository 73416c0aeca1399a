//! Fields of draft-ietf-httpapi-ratelimit-headers-11: structured fields (RFC 9651), each a list of
//! one policy.

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use sfv::{KeyRef, ListSerializer, StringRef, key_ref};

use super::decimal::whole_seconds;
use crate::{DecisionView, tower::retry_after::reset_after};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) static NAMES: [HeaderName; 2] = [POLICY, LIMIT];

/// Adds the fields that `headers` does not contain yet.
pub(super) fn add(
    decision: &DecisionView,
    name: &str,
    retry_after: Option<u64>,
    headers: &mut HeaderMap,
) {
    headers
        .entry(POLICY)
        .or_insert_with(|| policy(decision, name));
    headers
        .entry(LIMIT)
        .or_insert_with(|| limit(decision, name, retry_after));
}

/// `"default";q=100;w=60`
fn policy(decision: &DecisionView, name: &str) -> HeaderValue {
    let window = saturating_seconds(whole_seconds(decision.window()));
    field(
        name,
        [(key_ref("q"), decision.limit()), (key_ref("w"), window)],
    )
}

/// `"default";r=50;t=30`
///
/// The draft requires that `Retry-After` is not earlier than `t`, so both are equal in a refusal.
fn limit(decision: &DecisionView, name: &str, retry_after: Option<u64>) -> HeaderValue {
    let seconds = retry_after.unwrap_or_else(|| whole_seconds(reset_after(decision)));
    let time = saturating_seconds(seconds);
    field(
        name,
        [(key_ref("r"), decision.remaining()), (key_ref("t"), time)],
    )
}

fn field(name: &str, parameters: [(&'static KeyRef, u32); 2]) -> HeaderValue {
    // A structured string is printable ASCII; other characters become underscores.
    let printable = name.replace(|c: char| !matches!(c, ' '..='~'), "_");
    let Ok(name) = StringRef::from_str(&printable) else {
        return HeaderValue::from_static("");
    };
    let mut list = ListSerializer::new();
    let mut item = list.bare_item(name);
    for (key, value) in parameters {
        item = item.parameter(key, value);
    }
    let text = list.finish().unwrap_or_default();
    // A serialized structured field is visible ASCII.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Saturates at `u32::MAX` seconds, which is more than a century.
fn saturating_seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
