//! Decision of the layer in the extensions of a request and in the headers of a response.

use std::sync::LazyLock;

use http::{Extensions, HeaderMap};

use crate::DecisionView;

/// Empty extensions with capacity for seven entries. A new map has capacity for three, which axum
/// fills, so inserting the decision would grow it. (`Extensions` does not guarantee that a clone
/// keeps the capacity; without that only time is lost.)
static PREALLOCATED: LazyLock<Extensions> = LazyLock::new(|| {
    let mut extensions = Extensions::new();
    extensions.insert(0_u8);
    extensions.insert(0_u16);
    extensions.insert(0_u32);
    extensions.insert(0_u64);
    extensions.clear();
    extensions
});

/// Inserts the view of a decision into the extensions of a request, for the inner service.
#[inline]
pub(super) fn insert_into(extensions: &mut Extensions, decision: DecisionView) {
    if extensions.is_empty() {
        extensions.clone_from(&PREALLOCATED);
    }
    extensions.insert(decision);
}

/// Adds [`WITHOUT_REDIS`](super::headers::WITHOUT_REDIS) to the headers of a response when a
/// fallback policy decided.
#[inline]
pub(super) fn add_fallback_header(decision: &DecisionView, headers: &mut HeaderMap) {
    #[cfg(feature = "redis")]
    if let Some(policy) = decision.source().without_redis() {
        let policy = http::HeaderValue::from_static(policy);
        headers.insert(super::headers::WITHOUT_REDIS, policy);
    }
    #[cfg(not(feature = "redis"))]
    let _ = (decision, headers);
}
