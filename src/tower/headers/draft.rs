//! Fields of draft-ietf-httpapi-ratelimit-headers-11: structured fields (RFC 9651), each a list of
//! policies.

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use sfv::{KeyRef, ListSerializer, StringRef, key_ref};

use super::{decimal::whole_seconds, retry_after_seconds};
use crate::{DecisionView, tower::retry_after::reset_after};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) static NAMES: [HeaderName; 2] = [POLICY, LIMIT];

/// Adds policies, with their names, to the fields. A policy whose name a field has already is not
/// added: then an inner layer or the service has written it.
pub(super) fn add(policies: &[(&str, DecisionView)], headers: &mut HeaderMap) {
    let policies = || policies.iter().map(|(name, decision)| (*name, decision));
    append(
        headers,
        POLICY,
        policies().map(|(name, decision)| policy(name, decision)),
    );
    append(
        headers,
        LIMIT,
        policies().map(|(name, decision)| limit(name, decision)),
    );
}

/// Appends items to a field.
fn append(headers: &mut HeaderMap, name: HeaderName, items: impl Iterator<Item = String>) {
    let mut list = match headers.get(&name).map(HeaderValue::to_str) {
        None => String::new(),
        Some(Ok(list)) => list.to_owned(),
        // Not a field of the draft.
        Some(Err(_)) => return,
    };
    for item in items.filter(|item| !item.is_empty()) {
        let quoted = &item[..item.rfind('"').map_or(0, |end| end + 1)];
        if list.is_empty() {
            list = item;
        } else if !list.starts_with(quoted) && !list.contains(&format!(", {quoted}")) {
            list = format!("{list}, {item}");
        }
    }
    // Serialized structured fields are visible ASCII.
    if let (false, Ok(list)) = (list.is_empty(), HeaderValue::try_from(list)) {
        headers.insert(name, list);
    }
}

/// `"default";q=100;w=60`
fn policy(name: &str, decision: &DecisionView) -> String {
    let window = saturating_seconds(whole_seconds(decision.window()));
    item(
        name,
        [(key_ref("q"), decision.limit()), (key_ref("w"), window)],
    )
}

/// `"default";r=50;t=30`
///
/// The draft requires that `Retry-After` is not earlier than `t`, so both are equal in a refusal.
fn limit(name: &str, decision: &DecisionView) -> String {
    let retry_after = retry_after_seconds(decision);
    let seconds = retry_after.unwrap_or_else(|| whole_seconds(reset_after(decision)));
    let time = saturating_seconds(seconds);
    item(
        name,
        [(key_ref("r"), decision.remaining()), (key_ref("t"), time)],
    )
}

fn item(name: &str, parameters: [(&'static KeyRef, u32); 2]) -> String {
    // A structured string is printable ASCII; other characters become underscores.
    let printable = name.replace(|c: char| !matches!(c, ' '..='~'), "_");
    let Ok(name) = StringRef::from_str(&printable) else {
        return String::new();
    };
    let mut list = ListSerializer::new();
    let mut item = list.bare_item(name);
    for (key, value) in parameters {
        item = item.parameter(key, value);
    }
    list.finish().unwrap_or_default()
}

/// Saturates at `u32::MAX` seconds, which is more than a century.
fn saturating_seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
