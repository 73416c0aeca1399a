//! Memory of the last refusal, which bounds the rate of requests that would be refused again.

use crate::{
    redis::lease::protocol::{server_time::tick_at_micros, settings::Settings},
    state::State,
};

/// Nanoseconds between two refused requests: eight per second.
const SPACING: u64 = 128_000_000;
/// Nanoseconds between two requests that are sent within [`SPACING`] because they need fewer tokens
/// than were refused.
const SMALLER_SPACING: u64 = 1_000_000_000;

/// Last refusal of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    at: u64,
    /// Number of tokens that were refused.
    missing: u32,
    /// No request is sent before this time, whatever has changed since the refusal.
    blocked_until: u64,
    /// Exception to `blocked_until`: from this time on a request for fewer tokens is sent.
    smaller_allowed_at: u64,
    /// Bucket at the refusal. `None` once tokens were granted.
    bucket: Option<BucketSnapshot>,
}

/// Result of a blocked request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    /// Nanoseconds until a request may be sent again.
    pub(super) request_after: u64,
    /// Nanoseconds until the tokens can be available.
    pub(super) retry_after: u64,
}

/// Bucket at a server time.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketSnapshot {
    settled: State,
    /// Server time in microseconds.
    now: u64,
}

impl BucketSnapshot {
    pub(super) fn new(settings: &Settings, state: State, now: u64) -> BucketSnapshot {
        let layout = &settings.layout;
        BucketSnapshot {
            settled: layout.refill_to(state, tick_at_micros(layout, now)),
            now,
        }
    }

    pub(super) fn remaining(&self, settings: &Settings) -> u32 {
        settings.layout.remaining(self.settled.spent)
    }

    /// Returns the nanoseconds until `missing` tokens can be available.
    fn wait(&self, settings: &Settings, missing: u32) -> u64 {
        let terms = &settings.layout.scaled;
        let at = terms.nanos_at(terms.allowed_at(self.settled, terms.units(missing)));
        at.map_or(u64::MAX, |at| {
            at.saturating_sub(self.now.saturating_mul(1000))
        })
    }
}

impl Refusal {
    /// Returns `Some` if a request for `missing` tokens is not worth sending yet. `None`: send it.
    ///
    /// A request is worth sending a lifetime after the refusal at the latest. By then leases of
    /// other holders may have been returned, or the bucket reset.
    pub(super) fn blocks(
        &mut self,
        settings: &Settings,
        now: u64,
        missing: u32,
    ) -> Option<Blocked> {
        let may_succeed = self
            .bucket
            .is_none_or(|bucket| bucket.remaining(settings) >= missing);
        if now < self.blocked_until
            && missing < self.missing
            && may_succeed
            && now >= self.smaller_allowed_at
        {
            self.smaller_allowed_at = now.saturating_add(SMALLER_SPACING);
            return None;
        }
        let wait = self
            .bucket
            .map_or(0, |bucket| bucket.wait(settings, missing));
        let request_at = self
            .blocked_until
            .max(self.at.saturating_add(wait.min(settings.lifetime_nanos())));
        let available_at = self.blocked_until.max(self.at.saturating_add(wait));
        (now < request_at).then(|| Blocked {
            request_after: request_at - now,
            retry_after: available_at - now,
        })
    }

    /// Returns whether the refusal still restricts requests. If not, it can be dropped without an
    /// effect.
    pub(super) fn restricts(&self, now: u64) -> bool {
        now < self.blocked_until || now < self.smaller_allowed_at
    }

    pub(super) fn on_refused(&mut self, now: u64, missing: u32, bucket: BucketSnapshot) {
        *self = Refusal {
            at: now,
            missing,
            blocked_until: now.saturating_add(SPACING),
            smaller_allowed_at: self.smaller_allowed_at,
            bucket: Some(bucket),
        };
    }

    /// Drops the snapshot of the bucket: tokens were granted, so it is outdated.
    pub(super) fn on_granted(&mut self) {
        self.bucket = None;
        self.at = 0;
    }
}
