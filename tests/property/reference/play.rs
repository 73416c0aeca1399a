//! Turning random calls into calls on one bucket, wherever it is, at times and with costs that suit
//! its quota and its state.

use std::time::Duration;

use proptest::sample::Index;
use tollgate::{Bucket, Decision, Outcome, Quota};

use super::{
    generate::{Ask, Call, Cost, Patience, When},
    grid::HORIZON,
    nanos,
};

/// What was asked of the bucket, and what it said.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Decided {
        now: Duration,
        cost: u32,
        patience: Option<Duration>,
        decision: Decision,
    },
    /// The decision with this number, counted from the first, was undone; whether that gave
    /// anything back.
    Refunded {
        number: usize,
        gave: bool,
    },
    Reset {
        now: Duration,
    },
}

/// A bucket, wherever it is.
pub trait Played {
    type Answer: Copy;

    fn take(&self, now: Duration, cost: u32) -> Self::Answer;
    fn reserve(&self, now: Duration, cost: u32, patience: Duration) -> Self::Answer;
    fn refund(&self, answer: Self::Answer) -> bool;
    fn reset(&self, now: Duration);
    fn decision(answer: &Self::Answer) -> Decision;
}

impl Played for Bucket {
    type Answer = Decision;

    fn take(&self, now: Duration, cost: u32) -> Decision {
        self.try_acquire_at(now, cost)
    }

    fn reserve(&self, now: Duration, cost: u32, patience: Duration) -> Decision {
        self.reserve_at(now, cost, patience)
    }

    fn refund(&self, decision: Decision) -> bool {
        Bucket::refund(self, decision)
    }

    fn reset(&self, now: Duration) {
        self.reset_at(now);
    }

    fn decision(decision: &Decision) -> Decision {
        *decision
    }
}

pub struct Player<B: Played = Bucket> {
    pub bucket: B,
    quota: Quota,
    clock: u64,
    /// The time the last answer named.
    promised: u64,
    decisions: Vec<B::Answer>,
    /// Numbers of decisions that may still be undone.
    open: Vec<usize>,
}

impl Player {
    pub fn new(quota: Quota, start: u64) -> Player {
        Player::on(Bucket::new(quota), quota, start)
    }
}

impl<B: Played> Player<B> {
    pub fn on(bucket: B, quota: Quota, start: u64) -> Player<B> {
        Player {
            bucket,
            quota,
            clock: start,
            promised: start,
            decisions: Vec::new(),
            open: Vec::new(),
        }
    }

    pub fn play(&mut self, (when, ask): &Call) -> Option<Event> {
        let now = self.time(when);
        match ask {
            Ask::Take(cost) => Some(self.decide(now, self.cost(now, cost), None)),
            Ask::Reserve(cost, patience) => {
                let cost = self.cost(now, cost);
                let patience = self.patience(now, cost, patience);
                Some(self.decide(now, cost, Some(patience)))
            }
            Ask::RefundRecent(before) => {
                let charged =
                    |&place: &usize| B::decision(&self.decisions[self.open[place]]).is_allowed();
                self.refund((0..self.open.len()).rev().filter(charged).nth(*before)?)
            }
            Ask::Refund(index) => self.refund(pick(index, self.open.len())?),
            Ask::Reset => {
                self.bucket.reset(now);
                Some(Event::Reset { now })
            }
        }
    }

    fn decide(&mut self, now: Duration, cost: u32, patience: Option<Duration>) -> Event {
        let answer = match patience {
            None => self.bucket.take(now, cost),
            Some(patience) => self.bucket.reserve(now, cost, patience),
        };
        let decision = B::decision(&answer);
        self.promised = nanos(now).saturating_add(nanos(
            decision.retry_after().unwrap_or(decision.reset_after()),
        ));
        self.open.push(self.decisions.len());
        self.decisions.push(answer);
        Event::Decided {
            now,
            cost,
            patience,
            decision,
        }
    }

    /// A decision may be undone once; one that gave nothing back may be tried again.
    fn refund(&mut self, place: usize) -> Option<Event> {
        let number = self.open[place];
        let gave = self.bucket.refund(self.decisions[number]);
        if gave {
            self.open.remove(place);
        }
        Some(Event::Refunded { number, gave })
    }

    fn time(&mut self, when: &When) -> Duration {
        let (tokens, period) = (
            u128::from(self.quota.tokens()),
            u128::from(nanos(self.quota.period())),
        );
        let later = |time: u128, off: i64| {
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            self.clock.saturating_add(time).saturating_add_signed(off)
        };
        let now = match *when {
            When::Same => self.clock,
            When::Later(time) => later(time.into(), 0),
            When::Tokens(count, off) => later((u128::from(count) * period).div_ceil(tokens), off),
            When::Grains(count, off) => {
                later(u128::from(count) * self.quota.resolution().as_nanos(), off)
            }
            When::Eighths(count, off) => {
                let fill = u128::from(self.quota.capacity()) * period / tokens;
                later(fill / 8 * u128::from(count), off)
            }
            When::Promised(off) => self.promised.saturating_add_signed(off),
            When::Back(time) => self.clock.saturating_sub(time),
            When::Stale(time) => return Duration::from_nanos(self.clock.saturating_sub(time)),
            // These two leave the clock where it was.
            When::NearEnd(off) => return Duration::from_nanos(HORIZON.saturating_add_signed(off)),
            When::EndOfTime => return Duration::MAX,
        };
        // Random steps reach the horizon soon; only those that mean to go behind it.
        if now < HORIZON / 8 * 7 {
            self.clock = now;
        }
        Duration::from_nanos(now)
    }

    fn cost(&self, now: Duration, cost: &Cost) -> u32 {
        let capacity = i64::from(self.quota.capacity());
        let cost = match *cost {
            Cost::Exactly(cost) => cost.into(),
            Cost::Eighths(eighths) => (capacity * eighths as i64 + 7) / 8,
            Cost::OfAvailable(more) => i64::from(self.available(now)) + more,
            Cost::OfCapacity(more) => capacity + more,
        };
        cost.clamp(0, u32::MAX.into()) as u32
    }

    fn available(&self, now: Duration) -> u32 {
        B::decision(&self.bucket.take(now, 0)).remaining()
    }

    fn patience(&self, now: Duration, cost: u32, patience: &Patience) -> Duration {
        match *patience {
            Patience::Nanos(nanos) => Duration::from_nanos(nanos),
            Patience::Forever => Duration::MAX,
            Patience::OfNeed(more) => {
                // Asking whether it can be had at once writes nothing where it cannot.
                let there = self.available(now) >= cost;
                let probe =
                    (!there).then(|| B::decision(&self.bucket.reserve(now, cost, Duration::ZERO)));
                let probe = probe.filter(|probe| probe.outcome() == Outcome::DeadlineTooSoon);
                let need = probe.and_then(|probe| probe.retry_after());
                Duration::from_nanos(nanos(need.unwrap_or_default()).saturating_add_signed(more))
            }
        }
    }
}

fn pick(index: &Index, length: usize) -> Option<usize> {
    (length > 0).then(|| index.index(length))
}
