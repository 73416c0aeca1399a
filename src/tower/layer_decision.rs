//! Decision of the layer, annotated with the fallback policy that made it.

use std::sync::LazyLock;

use http::{Extensions, HeaderMap, header::HeaderValue};

use super::headers::WITHOUT_REDIS;
use crate::Decision;

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

/// Decision on a request, and the fallback policy that made it while Redis was unavailable.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerDecision {
    pub(super) decision: Decision,
    /// Name of the fallback policy; `None` for a decision that did not need one.
    pub(super) fallback: Option<&'static str>,
}

impl From<Decision> for LayerDecision {
    #[inline]
    fn from(decision: Decision) -> LayerDecision {
        LayerDecision {
            decision,
            fallback: None,
        }
    }
}

impl LayerDecision {
    /// Inserts the decision into the extensions of a request, for the inner service.
    #[inline]
    pub(super) fn insert_into(&self, extensions: &mut Extensions) {
        if extensions.is_empty() {
            extensions.clone_from(&PREALLOCATED);
        }
        extensions.insert(self.decision);
    }

    /// Adds [`WITHOUT_REDIS`] to the headers of a response when a fallback policy decided.
    #[inline]
    pub(super) fn add_fallback_header(&self, headers: &mut HeaderMap) {
        if let Some(policy) = self.fallback {
            headers.insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
        }
    }
}
