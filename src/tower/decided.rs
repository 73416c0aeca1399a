//! A decision on its way through the layer, and who made it in place of Redis.

use std::sync::LazyLock;

use http::{
    Extensions, HeaderMap,
    header::{HeaderName, HeaderValue},
};

use crate::Decision;

/// The header `X-RateLimit-Without-Redis`, on answers that were made without Redis, though it
/// should have been asked: it names the policy that decided, `local`, `open` or `closed`.
pub const WITHOUT_REDIS: HeaderName = HeaderName::from_static("x-ratelimit-without-redis");

/// No extensions, and room for seven: a new map has room for three, of which axum needs as many,
/// and with ours it would grow. (That a copy has as much room nobody promises; without it, only
/// time would be lost.)
static ROOM: LazyLock<Extensions> = LazyLock::new(|| {
    let mut room = Extensions::new();
    room.insert(0_u8);
    room.insert(0_u16);
    room.insert(0_u32);
    room.insert(0_u64);
    room.clear();
    room
});

#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    /// The policy that decided, when Redis was to decide and could not.
    pub(super) without_redis: Option<&'static str>,
}

impl From<Decision> for Decided {
    #[inline]
    fn from(decision: Decision) -> Decided {
        Decided {
            decision,
            without_redis: None,
        }
    }
}

impl Decided {
    /// Tells the service behind.
    #[inline]
    pub(super) fn tell(&self, extensions: &mut Extensions) {
        if extensions.is_empty() {
            extensions.clone_from(&ROOM);
        }
        extensions.insert(self.decision);
    }

    /// Tells the client that Redis was not asked, if it should have been.
    #[inline]
    pub(super) fn warn(&self, headers: &mut HeaderMap) {
        if let Some(policy) = self.without_redis {
            headers.insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
        }
    }
}
