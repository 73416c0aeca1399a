//! A refusal is remembered, so that an attack costs the server nothing.

use crate::{
    redis::lease::{Settings, tick},
    state::State,
};

/// Between two refused requests: eight a second.
const SPACING: u64 = 128_000_000;
/// Between two requests that are sent in spite of a refusal, because they ask for less than what
/// was refused.
const EARLY_SPACING: u64 = 1_000_000_000;

/// What is known of the last refusal.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    at: u64,
    /// So many were refused.
    missing: u32,
    /// Until then nothing is asked, whatever has changed since.
    floor: u64,
    /// From then on one who asks for less may.
    early: u64,
    /// The bucket as it was, and when; `None` once something was granted.
    seen: Option<Seen>,
}

/// Nothing need be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barred {
    /// Nanoseconds until it is worth asking.
    pub(super) ask: u64,
    /// Nanoseconds until the tokens can be there.
    pub(super) retry: u64,
}

/// A bucket at a time of the server's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    settled: State,
    now: u64,
}

impl Seen {
    pub(super) fn new(settings: &Settings, state: State, now: u64) -> Seen {
        Seen {
            settled: settings
                .layout
                .refill_to(state, tick(&settings.layout, now)),
            now,
        }
    }

    pub(super) fn remaining(&self, settings: &Settings) -> u32 {
        settings.layout.remaining(self.settled.spent)
    }

    /// Nanoseconds until `missing` tokens can be there.
    fn wait(&self, settings: &Settings, missing: u32) -> u64 {
        let terms = &settings.layout.scaled;
        let at = terms.nanos_at(terms.allowed_at(self.settled, terms.units(missing)));
        at.map_or(u64::MAX, |at| {
            at.saturating_sub(self.now.saturating_mul(1000))
        })
    }
}

impl Refusal {
    /// Whether one who lacks `missing` tokens need not ask. `None`: ask.
    ///
    /// At the latest a lifetime later it is worth asking again: by then leases of others may have
    /// come back, or the bucket was reset.
    pub(super) fn bars(&mut self, settings: &Settings, now: u64, missing: u32) -> Option<Barred> {
        let may_pass = self
            .seen
            .is_none_or(|seen| seen.remaining(settings) >= missing);
        if now < self.floor && missing < self.missing && may_pass && now >= self.early {
            self.early = now.saturating_add(EARLY_SPACING);
            return None;
        }
        let wait = self.seen.map_or(0, |seen| seen.wait(settings, missing));
        let ask_at = self
            .floor
            .max(self.at.saturating_add(wait.min(settings.lifetime())));
        let there_at = self.floor.max(self.at.saturating_add(wait));
        (now < ask_at).then(|| Barred {
            ask: ask_at - now,
            retry: there_at - now,
        })
    }

    /// Whether it says more than that a second has passed without a refusal.
    pub(super) fn remembers(&self, now: u64) -> bool {
        now < self.floor || now < self.early
    }

    pub(super) fn refused(&mut self, now: u64, missing: u32, seen: Seen) {
        let floor = now.saturating_add(SPACING);
        *self = Refusal {
            at: now,
            missing,
            floor,
            early: self.early,
            seen: Some(seen),
        };
    }

    /// Something was granted: the bucket is not what it was.
    pub(super) fn lifted(&mut self) {
        self.seen = None;
        self.at = 0;
    }
}
