//! The fields of draft-ietf-httpapi-ratelimit-headers-11: structured fields (RFC 9651), lists of
//! one policy.

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use sfv::{KeyRef, ListSerializer, StringRef, key_ref, string_ref};

use crate::{
    Decision,
    tower::{refusal::POLICY_NAME, seconds::whole},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) static NAMES: [HeaderName; 2] = [POLICY, LIMIT];

/// Adds them, but for those that are there already.
pub(super) fn add(decision: &Decision, retry_after: Option<u64>, headers: &mut HeaderMap) {
    headers.entry(POLICY).or_insert_with(|| policy(decision));
    headers
        .entry(LIMIT)
        .or_insert_with(|| limit(decision, retry_after));
}

/// `"default";q=100;w=60`
fn policy(decision: &Decision) -> HeaderValue {
    let window = seconds(whole(decision.window()));
    field([(key_ref("q"), decision.limit()), (key_ref("w"), window)])
}

/// `"default";r=50;t=30`
///
/// The draft wants `Retry-After` to name no moment before `t`, so of a refusal they are the same.
fn limit(decision: &Decision, retry_after: Option<u64>) -> HeaderValue {
    let time = seconds(retry_after.unwrap_or_else(|| whole(decision.reset_after())));
    field([(key_ref("r"), decision.remaining()), (key_ref("t"), time)])
}

fn field(parameters: [(&'static KeyRef, u32); 2]) -> HeaderValue {
    let name: &StringRef = string_ref(POLICY_NAME);
    let mut list = ListSerializer::new();
    let mut item = list.bare_item(name);
    for (key, value) in parameters {
        item = item.parameter(key, value);
    }
    let text = list.finish().unwrap_or_default();
    // What a structured field is written with is visible ASCII.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// More than a century is as good as forever.
fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
