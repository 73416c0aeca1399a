//! Refusal of Redis, remembered for a short time.

use super::script::TakeReply;
use crate::{
    attempt::Attempt,
    decision::Decision,
    state::{Layout, State},
};

/// Nanoseconds that a refusal is remembered: at most ten calls a second for a refused key. Another
/// process may refund tokens or reset the bucket meanwhile.
const MEMORY: u64 = 100_000_000;

/// Refusal of Redis. A bucket that refused a cost refuses it, and every higher cost, until it has
/// refilled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// Cost that was refused.
    cost: u32,
    reply: TakeReply,
    /// Time of this process at which the reply arrived.
    received: u64,
    expires: u64,
}

impl Refusal {
    /// Makes a refusal that is remembered from the time at which its call was sent.
    pub(super) fn new(cost: u32, reply: TakeReply, sent: u64, received: u64) -> Refusal {
        Refusal {
            cost,
            reply,
            received,
            expires: sent.saturating_add(MEMORY),
        }
    }

    pub(super) fn reply(&self) -> &TakeReply {
        &self.reply
    }

    /// Time of this process at which the reply arrived.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Updates the bucket after another reply, such as one that took fewer tokens than were refused.
    /// `None`: the order of the two is unknown, because the reply is of an earlier time.
    pub(super) fn updated(self, reply: &TakeReply, received: u64) -> Option<Refusal> {
        (reply.micros >= self.reply.micros).then_some(Refusal {
            reply: *reply,
            received,
            ..self
        })
    }

    /// Returns true if the refusal is remembered at this time.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        // A manual clock may step back.
        (self.received..self.expires).contains(&now)
    }

    /// Returns true if this refusal, the newer one, replaces `old`: it covers as many costs, or more
    /// of the future.
    pub(super) fn supersedes(&self, old: &Refusal) -> bool {
        self.cost <= old.cost || !old.is_fresh(self.received)
    }

    /// Decides a request for `cost` tokens as Redis would, unless the refusal does not cover it:
    /// the cost is lower than the refused one, or the tokens are available by now.
    pub(super) fn decide(&self, layout: &Layout, now: u64, cost: u32) -> Option<Decision> {
        if cost < self.cost || !self.is_fresh(now) {
            return None;
        }
        // The server's clock by now. It is late by the time that the reply took, so the tokens are
        // available when this says so. Both times are rounded as a manual clock is.
        let micros = self.reply.micros + (now / 1000 - self.received / 1000);
        let attempt = Attempt::immediate(layout, micros.saturating_mul(1000), cost);
        let state = State {
            spent: self.reply.spent,
            stamp: self.reply.stamp,
        };
        let refilled = layout.refill_to(state, attempt.tick);
        let is_refused = layout.remaining(refilled.spent) < cost;
        is_refused.then(|| attempt.uncharged(refilled, attempt.refusal()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{decision::Outcome, quota::Quota};

    const MILLI: u64 = 1_000_000;
    const SENT: u64 = 7_000 * MILLI;
    const RECEIVED: u64 = SENT + 3 * MILLI;

    fn layout(quota: Quota) -> Layout {
        quota.unpacked_layout()
    }

    /// Refusal of `cost` by a bucket with `left` tokens.
    fn refusal(layout: &Layout, cost: u32, left: u32) -> Refusal {
        let micros = 50_000_000_000;
        let reply = TakeReply {
            taken: false,
            micros,
            spent: layout.capacity - layout.units(left),
            stamp: layout.tick(micros * 1000),
            incarnation: 1,
            rebased: false,
        };
        Refusal::new(cost, reply, SENT, RECEIVED)
    }

    #[test]
    fn covers_its_cost_and_higher_ones_for_a_tenth_of_a_second() {
        let layout = layout(Quota::per_day(10));
        let refusal = refusal(&layout, 5, 2);
        let outcome = |now, cost| {
            let decision = refusal.decide(&layout, now, cost);
            decision.map(|decision| (decision.outcome(), decision.remaining()))
        };
        for now in [RECEIVED, SENT + 100 * MILLI - 1] {
            assert_eq!(outcome(now, 5), Some((Outcome::Refused, 2)));
            assert_eq!(outcome(now, 10), Some((Outcome::Refused, 2)));
            assert_eq!(outcome(now, 11), Some((Outcome::CostAboveCapacity, 2)));
            assert_eq!(outcome(now, 4), None, "Redis decides lower costs");
        }
        assert_eq!(outcome(SENT + 100 * MILLI, 5), None);
        assert_eq!(outcome(RECEIVED - 1, 5), None, "the clock stepped back");
    }

    #[test]
    fn ends_when_the_tokens_are_available() {
        for quota in [
            Quota::per_second(50).with_capacity(4),
            Quota::interval(4, Duration::from_millis(20)),
        ] {
            let layout = layout(quota);
            let refusal = refusal(&layout, 1, 0);
            let retry_after = |now| refusal.decide(&layout, now, 1)?.retry_after();
            assert_eq!(retry_after(RECEIVED), Some(Duration::from_millis(20)));
            assert_eq!(
                retry_after(RECEIVED + 19 * MILLI),
                Some(Duration::from_millis(1)),
                "{quota}"
            );
            assert_eq!(retry_after(RECEIVED + 20 * MILLI), None, "{quota}");
        }
    }

    #[test]
    fn later_reply_updates_the_bucket_and_not_the_expiry() {
        let layout = layout(Quota::per_day(10));
        let (old, new) = (refusal(&layout, 5, 2), refusal(&layout, 1, 0));
        let received = RECEIVED + MILLI;
        let updated = old.updated(new.reply(), received).unwrap();
        let decide = |now| updated.decide(&layout, now, 5);
        assert_eq!(decide(received).unwrap().remaining(), 0);
        assert!(decide(SENT + 100 * MILLI).is_none());
        let earlier = TakeReply {
            micros: 0,
            ..*new.reply()
        };
        assert!(old.updated(&earlier, received).is_none());
    }

    #[test]
    fn refusal_of_a_lower_cost_covers_more() {
        let layout = layout(Quota::per_day(10));
        let (low, high) = (refusal(&layout, 2, 0), refusal(&layout, 5, 0));
        assert!(low.supersedes(&high) && low.supersedes(&low) && !high.supersedes(&low));
        let later = Refusal::new(5, high.reply, SENT + 200 * MILLI, RECEIVED + 200 * MILLI);
        assert!(later.supersedes(&low));
    }
}
