//! Decision of the layer in the extensions of a request and in the headers of a response.

use std::sync::LazyLock;

use http::{Extensions, HeaderMap};

use super::headers::{HeaderStyle, PolicyHeaders};
use crate::DecisionView;

/// Decision of the limit that decides, and those of all limits when there are several.
pub(super) struct LayerDecision {
    /// Of the limit that refuses, or else allows the fewest further requests.
    pub(super) view: DecisionView,
    pub(super) policy: &'static str,
    /// With the names of their policies. Empty, and not allocated, when there is one limit.
    all: Box<[(&'static str, DecisionView)]>,
}

impl LayerDecision {
    #[inline]
    pub(super) fn of_one(policy: &'static str, view: DecisionView) -> LayerDecision {
        LayerDecision {
            view,
            policy,
            all: Box::default(),
        }
    }

    /// Creates the decision of several limits, of which that with this index decides.
    pub(super) fn of_several(
        all: Box<[(&'static str, DecisionView)]>,
        deciding: usize,
    ) -> LayerDecision {
        let (policy, view) = all[deciding];
        LayerDecision { view, policy, all }
    }

    /// Returns the decisions of all limits, with the names of their policies.
    pub(super) fn policies(&self) -> &[(&'static str, DecisionView)] {
        &self.all
    }

    /// Returns the headers that announce the decision.
    #[inline]
    pub(super) fn headers(&self, style: HeaderStyle) -> PolicyHeaders<'_> {
        style.for_policy(self.policy).among(&self.all)
    }
}
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
