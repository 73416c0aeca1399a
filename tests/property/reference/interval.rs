//! Reference bucket of an interval quota: consecutive windows, each with the tokens used in it.

use std::{collections::VecDeque, time::Duration};

use num_bigint::BigInt;
use num_traits::Zero;
use tollgate::{Outcome, Quota};

use super::{ChargedAt, DecisionFields, Refundable, ticks::TickScale};

#[derive(Clone, Debug)]
pub struct Interval {
    scale: TickScale,
    /// Ticks in a window.
    window: BigInt,
    capacity: u64,
    /// Tick at which the first of `windows` began; without windows, the tick of the last change.
    at: BigInt,
    /// Tokens used or skipped in the open window, and in each window sold ahead of time.
    windows: VecDeque<u64>,
    refundable: Refundable,
}

#[derive(Clone, Debug)]
pub struct Charge {
    cost: u64,
    /// Tokens skipped in the previous window, because the cost did not fit its rest.
    skipped: u64,
    /// Tick at which the window begins in which the charge is used.
    window: BigInt,
    /// Tokens used in that window, this charge included.
    end: u64,
    charged_at: ChargedAt,
}

impl Charge {
    /// See [`super::Charge::stamp`].
    pub(super) fn stamp(&self) -> &BigInt {
        &self.charged_at.tick
    }
}

impl Interval {
    pub fn new(quota: &Quota, scale: TickScale) -> Interval {
        Interval {
            window: scale.refill_per_tick.recip().to_integer(),
            scale,
            capacity: quota.capacity().into(),
            at: BigInt::zero(),
            windows: VecDeque::new(),
            refundable: Refundable::new(),
        }
    }

    /// Returns the decision, and if it takes tokens, the bucket after it and the charge.
    pub fn decide(
        &self,
        now: u64,
        cost: u32,
        max_wait: Option<u64>,
    ) -> (DecisionFields, Option<(Interval, Charge)>) {
        let before = self.refilled_to(self.scale.tick(now));
        let cost = u64::from(cost);
        let after = before.clone().charged(cost);
        let ahead = after.windows.len().saturating_sub(1);
        let ready = after.start_of(ahead);
        let outcome = match max_wait {
            _ if cost == 0 => Outcome::Allowed,
            _ if cost > self.capacity => Outcome::CostAboveCapacity,
            _ if ahead == 0 => Outcome::Allowed,
            None => Outcome::Refused,
            // A bucket sells at most one capacity ahead of time.
            Some(_) if after.sold() > 2 * self.capacity => Outcome::Refused,
            Some(max_wait) => match self.scale.nanos_at(&ready) {
                Some(time) if u128::from(time) <= u128::from(now) + u128::from(max_wait) => {
                    Outcome::Allowed
                }
                _ => Outcome::DeadlineTooSoon,
            },
        };
        let takes = outcome == Outcome::Allowed && cost > 0;
        let left = if takes { &after } else { &before };
        let fields = DecisionFields {
            outcome,
            remaining: u32::try_from(self.capacity.saturating_sub(left.sold())).unwrap(),
            retry_after: match outcome {
                Outcome::Allowed | Outcome::CostAboveCapacity => None,
                _ => self.scale.until(&ready, now),
            },
            reset_after: match left.windows.len() {
                0 => Duration::ZERO,
                open => self
                    .scale
                    .until(&left.start_of(open), now)
                    .unwrap_or(Duration::MAX),
            },
            wait: self
                .scale
                .until(&ready, now)
                .filter(|_| takes && ahead > 0)
                .unwrap_or_default(),
        };
        if !takes {
            return (fields, None);
        }
        let skipped = after.sold() - before.sold() - cost;
        let end = *after
            .windows
            .back()
            .expect("the charge is in the last window");
        let charge = Charge {
            cost,
            skipped,
            window: ready,
            end,
            charged_at: self.refundable.mark(&after.at),
        };
        (fields, Some((after, charge)))
    }

    /// Refunds a charge. While there are waiters, only the last charge sold gives back its cost,
    /// and all of it. Otherwise a charge gives back its use of the open window.
    pub fn refund(&mut self, charge: &Charge) -> bool {
        if !self.refundable.includes(&charge.charged_at) || self.windows.is_empty() {
            return false;
        }
        let last = self.windows.len() - 1;
        if charge.window != self.start_of(last) || (last > 0 && self.windows[last] != charge.end) {
            return false;
        }
        self.windows[last] = self.windows[last].saturating_sub(charge.cost);
        if last > 0 {
            self.windows[last - 1] -= charge.skipped;
        }
        while self.windows.back() == Some(&0) {
            self.windows.pop_back();
        }
        true
    }

    pub fn reset(&mut self, now: u64) {
        let last = self.scale.tick(u64::MAX);
        self.refundable.void_earlier();
        // At the last tick there is no newer stamp, so no decision is refundable any more.
        if self.at == last {
            self.refundable.void_all();
        }
        self.at = self.scale.tick(now).max((&self.at + 1_u32).min(last));
        self.windows.clear();
    }

    /// Closes the window that is open just before `until`, or one that ends then, unless
    /// reservations last longer. That window begins later than any earlier change.
    pub fn pause(&mut self, now: u64, until: u64) {
        let (now, until) = (self.scale.tick(now), self.scale.tick(until));
        if until <= now || until <= self.at {
            return;
        }
        let just_before = self.refilled_to(until.clone() - 1);
        let begin = match just_before.windows.len() {
            0 => until - &self.window,
            1 => just_before.at,
            _ => return,
        };
        self.at = begin.max(&self.at + 1_u32);
        self.windows = VecDeque::from([self.capacity]);
        self.refundable.void_earlier();
    }

    /// Moves the bucket, and with it the open window, back to `now`. What was spent stays spent.
    pub fn rebase(&mut self, now: u64) {
        let now = self.scale.tick(now);
        if now < self.at {
            self.refundable.void_until_after(&self.at);
            self.at = now;
        }
    }

    /// Drops the windows that have ended by tick `now`; if none is left, the next window begins
    /// then.
    fn refilled_to(&self, now: BigInt) -> Interval {
        let mut refilled = self.clone();
        while !refilled.windows.is_empty() && &refilled.at + &self.window <= now {
            refilled.windows.pop_front();
            refilled.at += &self.window;
        }
        if refilled.windows.is_empty() {
            refilled.at = now.max(self.at.clone());
        }
        refilled
    }

    /// Charges `cost` in the last window, or entirely in a new one.
    fn charged(mut self, cost: u64) -> Interval {
        match self.windows.back_mut() {
            Some(used) if *used + cost <= self.capacity => *used += cost,
            Some(used) => {
                *used = self.capacity;
                self.windows.push_back(cost);
            }
            None if cost > 0 => self.windows.push_back(cost),
            None => {}
        }
        self
    }

    fn start_of(&self, window: usize) -> BigInt {
        &self.at + &self.window * window
    }

    fn sold(&self) -> u64 {
        self.windows.iter().sum()
    }
}
