//! Driver of one bucket, in memory or in Redis: turns random calls into calls with times and costs
//! derived from the bucket's quota and state.

use std::time::Duration;

use proptest::sample::Index;
use tollgate::{Bucket, Decision, DecisionView, Outcome, Quota};

use super::{
    nanos,
    strategies::{Call, Cost, Length, MaxWait, Operation, When},
    ticks::HORIZON,
};

/// Call on the bucket, and its result.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Decided {
        now: Duration,
        cost: u32,
        max_wait: Option<Duration>,
        decision: DecisionView,
    },
    /// Refund of the decision with this index, and whether it gave tokens back.
    Refunded {
        number: usize,
        gave_back: bool,
    },
    Reset {
        now: Duration,
    },
    Paused {
        now: Duration,
        time: Duration,
    },
    Rebased {
        now: Duration,
    },
}

/// Bucket under test, in memory or in Redis.
pub trait Target {
    type Decision;

    fn take(&self, now: Duration, cost: u32) -> Self::Decision;
    fn reserve(&self, now: Duration, cost: u32, max_wait: Duration) -> Self::Decision;
    fn refund(&self, decision: Self::Decision) -> bool;
    fn reset(&self, now: Duration);
    fn pause(&self, now: Duration, time: Duration);
    fn rebase(&self, now: Duration);
    fn decision(decision: &Self::Decision) -> DecisionView;
}

impl Target for Bucket {
    type Decision = Decision;

    fn take(&self, now: Duration, cost: u32) -> Decision {
        self.try_acquire_at(now, cost)
    }

    fn reserve(&self, now: Duration, cost: u32, max_wait: Duration) -> Decision {
        self.reserve_at(now, cost, max_wait)
    }

    fn refund(&self, decision: Decision) -> bool {
        Bucket::refund(self, decision).unwrap()
    }

    fn reset(&self, now: Duration) {
        self.reset_at(now);
    }

    fn pause(&self, now: Duration, time: Duration) {
        self.pause_at(now, time);
    }

    fn rebase(&self, now: Duration) {
        self.rebase_at(now);
    }

    fn decision(decision: &Decision) -> DecisionView {
        decision.view()
    }
}

pub struct Driver<T: Target = Bucket> {
    pub bucket: T,
    quota: Quota,
    clock: u64,
    /// Time of `retry_after` of the last decision, or of `reset_after` if it was allowed.
    retry_or_reset: u64,
    /// Decisions that were not refunded.
    decisions: Vec<Option<T::Decision>>,
    /// Indexes of the decisions that may still be refunded.
    refundable: Vec<usize>,
}

impl Driver {
    pub fn new(quota: Quota, start: u64) -> Driver {
        Driver::with_target(Bucket::new(quota), quota, start)
    }
}

impl<T: Target> Driver<T> {
    pub fn with_target(bucket: T, quota: Quota, start: u64) -> Driver<T> {
        Driver {
            bucket,
            quota,
            clock: start,
            retry_or_reset: start,
            decisions: Vec::new(),
            refundable: Vec::new(),
        }
    }

    pub fn call(&mut self, (when, operation): &Call) -> Option<Event> {
        let now = self.time(when);
        match operation {
            Operation::Take(cost) => Some(self.decide(now, self.cost(now, cost), None)),
            Operation::Reserve(cost, max_wait) => {
                let cost = self.cost(now, cost);
                let max_wait = self.max_wait(now, cost, max_wait);
                Some(self.decide(now, cost, Some(max_wait)))
            }
            Operation::RefundRecent(before) => {
                let charged = |&position: &usize| {
                    let decision = self.decisions[self.refundable[position]].as_ref();
                    decision.is_some_and(|decision| T::decision(decision).is_allowed())
                };
                self.refund(
                    (0..self.refundable.len())
                        .rev()
                        .filter(charged)
                        .nth(*before)?,
                )
            }
            Operation::Refund(index) => self.refund(pick(index, self.refundable.len())?),
            Operation::Reset => {
                self.bucket.reset(now);
                Some(Event::Reset { now })
            }
            Operation::Pause(length) => {
                let time = self.length(length);
                self.bucket.pause(now, time);
                Some(Event::Paused { now, time })
            }
            Operation::Rebase => {
                self.bucket.rebase(now);
                Some(Event::Rebased { now })
            }
        }
    }

    fn decide(&mut self, now: Duration, cost: u32, max_wait: Option<Duration>) -> Event {
        let made = match max_wait {
            None => self.bucket.take(now, cost),
            Some(max_wait) => self.bucket.reserve(now, cost, max_wait),
        };
        let decision = T::decision(&made);
        self.retry_or_reset = nanos(now).saturating_add(nanos(
            decision.retry_after().unwrap_or(decision.reset_after()),
        ));
        self.refundable.push(self.decisions.len());
        self.decisions.push(Some(made));
        Event::Decided {
            now,
            cost,
            max_wait,
            decision,
        }
    }

    /// Refunds a decision, which consumes it.
    fn refund(&mut self, position: usize) -> Option<Event> {
        let number = self.refundable.remove(position);
        let gave_back = self.bucket.refund(self.decisions[number].take()?);
        Some(Event::Refunded { number, gave_back })
    }

    /// Returns the time that refills so many tokens, in nanoseconds.
    fn refill_time(&self, tokens: u64) -> u128 {
        let period = u128::from(nanos(self.quota.period()));
        (u128::from(tokens) * period).div_ceil(u128::from(self.quota.tokens()))
    }

    /// Returns eighths of the time that refills the capacity, in nanoseconds.
    fn eighths(&self, count: u64) -> u128 {
        let period = u128::from(nanos(self.quota.period()));
        let fill = u128::from(self.quota.capacity()) * period / u128::from(self.quota.tokens());
        fill / 8 * u128::from(count)
    }

    fn length(&self, length: &Length) -> Duration {
        let (time, offset) = match *length {
            Length::Nanos(time) => (time.into(), 0),
            Length::Tokens(count, offset) => (self.refill_time(count), offset),
            Length::Eighths(count, offset) => (self.eighths(count), offset),
            Length::Forever => return Duration::MAX,
        };
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        Duration::from_nanos(time.saturating_add_signed(offset))
    }

    fn time(&mut self, when: &When) -> Duration {
        let later = |time: u128, offset: i64| {
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            self.clock
                .saturating_add(time)
                .saturating_add_signed(offset)
        };
        let now = match *when {
            When::Same => self.clock,
            When::Later(time) => later(time.into(), 0),
            When::Tokens(count, offset) => later(self.refill_time(count), offset),
            When::Ticks(count, offset) => later(
                u128::from(count) * self.quota.resolution().as_nanos(),
                offset,
            ),
            When::Eighths(count, offset) => later(self.eighths(count), offset),
            When::RetryOrReset(offset) => self.retry_or_reset.saturating_add_signed(offset),
            When::Backward(time) => self.clock.saturating_sub(time),
            When::Stale(time) => return Duration::from_nanos(self.clock.saturating_sub(time)),
            // These two do not move the clock.
            When::NearHorizon(offset) => {
                return Duration::from_nanos(HORIZON.saturating_add_signed(offset));
            }
            When::Latest => return Duration::MAX,
        };
        // Random pauses would soon reach the horizon; only the two cases above are to reach it.
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
            Cost::Available(offset) => i64::from(self.available(now)) + offset,
            Cost::Capacity(offset) => capacity + offset,
        };
        cost.clamp(0, u32::MAX.into()) as u32
    }

    fn available(&self, now: Duration) -> u32 {
        T::decision(&self.bucket.take(now, 0)).remaining()
    }

    fn max_wait(&self, now: Duration, cost: u32, max_wait: &MaxWait) -> Duration {
        match *max_wait {
            MaxWait::Nanos(nanos) => Duration::from_nanos(nanos),
            MaxWait::Forever => Duration::MAX,
            MaxWait::Needed(offset) => {
                // A reservation without a wait writes nothing if the tokens are not available.
                let is_available = self.available(now) >= cost;
                let probe = (!is_available)
                    .then(|| T::decision(&self.bucket.reserve(now, cost, Duration::ZERO)));
                let probe = probe.filter(|probe| probe.outcome() == Outcome::DeadlineTooSoon);
                let need = probe.and_then(|probe| probe.retry_after());
                Duration::from_nanos(nanos(need.unwrap_or_default()).saturating_add_signed(offset))
            }
        }
    }
}

fn pick(index: &Index, length: usize) -> Option<usize> {
    (length > 0).then(|| index.index(length))
}
