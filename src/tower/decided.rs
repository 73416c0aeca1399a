//! A decision on its way through the layer, and who made it in place of Redis.

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use crate::Decision;

/// On answers that were made without Redis, though it should have been asked: by what policy.
const WITHOUT_REDIS: HeaderName = HeaderName::from_static("x-ratelimit-without-redis");

#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    /// The policy that decided, when Redis was to decide and could not.
    pub(super) without_redis: Option<&'static str>,
}

impl From<Decision> for Decided {
    #[inline]
    fn from(decision: Decision) -> Decided {
        Decided { decision, without_redis: None }
    }
}

impl Decided {
    /// Tells the client that Redis was not asked, if it should have been.
    #[inline]
    pub(super) fn warn(&self, headers: &mut HeaderMap) {
        if let Some(policy) = self.without_redis {
            headers.insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
        }
    }
}
