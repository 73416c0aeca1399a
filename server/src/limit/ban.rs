//! Bans: a key that a limit refuses too often is refused for a time, whatever its tokens.
//!
//! A ban is two further buckets of the key. The first is charged for each refusal by the limit. When
//! it is empty, the second one, an interval quota of one token, is charged, and the key is banned until
//! that token is back. So a limit with a ban writes on a refusal, which other limits never do.

use std::sync::Arc;

use tollgate::{Clock, DecisionView, KeyedLimiter};

use super::limiter::Limiter;
use crate::{config, request::client_id::ClientId};

/// Ban of the keys of a limit.
pub(crate) struct Ban {
    settings: config::Ban,
    policy: Arc<str>,
    refusals: Limiter,
    bans: Limiter,
}

impl Ban {
    /// Creates the ban of a limit, whose refusals are of the policy `name`.
    pub(super) fn new(
        name: &str,
        settings: config::Ban,
        max_clients: usize,
        clock: &Clock,
    ) -> Result<Ban, String> {
        let limiter = |quota| {
            let builder = KeyedLimiter::builder(quota).clock(clock.clone());
            Limiter::in_memory(builder.max_keys(max_clients))
                .map_err(|error| format!("limits: {name}: max_clients: {error}"))
        };
        Ok(Ban {
            settings,
            policy: name.into(),
            refusals: limiter(settings.refusals)?,
            bans: limiter(settings.ban)?,
        })
    }

    pub(super) fn settings(&self) -> config::Ban {
        self.settings
    }

    /// Name of the policy that refuses banned keys.
    pub(super) fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// Returns the refusal of a banned key.
    pub(super) fn refusal(&self, key: &ClientId<'_>) -> Option<DecisionView> {
        self.bans.look(key, 1).filter(DecisionView::is_refused)
    }

    /// Counts a refusal. Returns that of the ban, when it begins.
    pub(super) fn count_refusal(&self, key: &ClientId<'_>) -> Option<DecisionView> {
        if self.refusals.try_acquire(key, 1)?.is_allowed() {
            return None;
        }
        let begun = self.bans.try_acquire(key, 1)?;
        if begun.is_allowed() {
            let policy = &*self.policy;
            tracing::debug!(policy, "key banned");
        }
        self.refusal(key)
    }
}
