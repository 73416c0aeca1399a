//! Exact reference of several limits that decide together: all or nothing, and shadow limits after them.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use tollgate::Quota;

/// Nanoseconds, or tokens in units of which a token has as many as its period has nanoseconds.
type Whole = i128;

/// Quota in exact numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) capacity: Whole,
    /// Tokens of each period.
    tokens: Whole,
    period: Whole,
    /// All tokens are refilled at the end of a window, which begins with the first request.
    is_interval: bool,
    /// Time by less than which a token may be early: [`Quota::resolution`]. It is never late.
    resolution: Whole,
}

/// One bucket from which a request takes.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) limit: String,
    pub(super) key: String,
    pub(super) rate: Rate,
    pub(super) cost: u32,
    pub(super) is_shadow: bool,
}

/// Tokens of a bucket.
#[derive(Clone, Copy)]
enum Level {
    Greedy { units: Whole, at: Whole },
    Window { spent: Whole, end: Whole },
}

/// Decision about a request. A range has two ends where the resolution of time decides.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    /// Tokens that each enforced limit has left.
    pub(super) left: Vec<(String, RangeInclusive<Whole>)>,
    /// Nanoseconds until the request would be allowed.
    pub(super) wait: RangeInclusive<Whole>,
    /// Shadow limits, and whether they allow.
    pub(super) shadows: Vec<(String, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Allowed,
    Refused,
    /// The resolution of time decides.
    Either,
}

/// Buckets by limit and key.
#[derive(Default)]
pub(super) struct Reference(HashMap<(String, String), Level>);

impl Rate {
    /// Quota with a text for the server, and its meaning.
    pub(super) fn new(text: &str, capacity: u32, tokens: u32, period: Duration) -> Rate {
        let quota: Quota = text.parse().unwrap();
        // The resolution in Redis is at least a microsecond.
        let resolution = quota.resolution().max(Duration::from_micros(1));
        Rate {
            capacity: capacity.into(),
            tokens: tokens.into(),
            period: whole(period),
            is_interval: text.contains("all at once"),
            resolution: whole(resolution),
        }
    }

    /// Returns the tokens at a time, in units.
    fn units(&self, level: Option<&Level>, now: Whole) -> Whole {
        let full = self.capacity * self.period;
        match level {
            None => full,
            Some(Level::Greedy { units, at }) => full.min(units + (now - at) * self.tokens),
            Some(Level::Window { end, .. }) if now >= *end => full,
            Some(Level::Window { spent, .. }) => full - spent * self.period,
        }
    }

    /// Returns the whole tokens at a time.
    fn tokens(&self, level: Option<&Level>, now: Whole) -> Whole {
        self.units(level, now).div_euclid(self.period)
    }

    /// Returns the least and the most tokens that a bucket with this resolution may have.
    fn range(&self, level: Option<&Level>, now: Whole) -> RangeInclusive<Whole> {
        self.tokens(level, now)..=self.tokens(level, now + self.resolution)
    }

    /// Returns the time until a cost is there, 0 when it is.
    fn wait(&self, level: Option<&Level>, now: Whole, cost: Whole) -> Whole {
        let missing = cost * self.period - self.units(level, now);
        match level {
            _ if missing <= 0 => 0,
            Some(Level::Window { end, .. }) => end - now,
            _ => (missing + self.tokens - 1) / self.tokens,
        }
    }

    fn taken(&self, level: Option<&Level>, now: Whole, cost: Whole) -> Level {
        match level {
            Some(Level::Window { spent, end }) if now + self.resolution <= *end => Level::Window {
                spent: spent + cost,
                end: *end,
            },
            _ if self.is_interval => Level::Window {
                spent: cost,
                end: now + self.period,
            },
            _ => Level::Greedy {
                units: self.units(level, now) - cost * self.period,
                at: now,
            },
        }
    }
}

impl Reference {
    /// Decides at a time. `is_allowed` is what the server did, for [`Outcome::Either`].
    pub(super) fn decide(&mut self, parts: &[Part], now: Duration, is_allowed: bool) -> Decided {
        let now = whole(now);
        let (shadows, enforced): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.is_shadow);
        let outcomes = enforced.iter().map(|part| self.outcome(part, now));
        let outcome = outcomes.fold(Outcome::Allowed, |all, one| match (all, one) {
            (Outcome::Refused, _) | (_, Outcome::Refused) => Outcome::Refused,
            (Outcome::Either, _) | (_, Outcome::Either) => Outcome::Either,
            _ => Outcome::Allowed,
        });
        let wait = enforced.iter().map(|part| {
            let wait = part.rate.wait(self.level(part), now, part.cost.into());
            (wait - part.rate.resolution).max(0)..=wait
        });
        let wait = wait.fold(0..=0, |most, one| {
            *most.start().max(one.start())..=*most.end().max(one.end())
        });
        let takes = outcome == Outcome::Allowed || outcome == Outcome::Either && is_allowed;
        let mut taken = Vec::new();
        if takes {
            enforced.iter().for_each(|part| self.take(part, now));
            for part in shadows {
                let is_allowed = self.outcome(part, now) != Outcome::Refused;
                taken.push((part.limit.clone(), is_allowed));
                if is_allowed {
                    self.take(part, now);
                }
            }
        }
        let left = enforced.iter().map(|part| {
            let left = part.rate.range(self.level(part), now);
            (part.limit.clone(), left)
        });
        Decided {
            outcome,
            left: left.collect(),
            wait,
            shadows: taken,
        }
    }

    fn level(&self, part: &Part) -> Option<&Level> {
        self.0.get(&(part.limit.clone(), part.key.clone()))
    }

    fn outcome(&self, part: &Part, now: Whole) -> Outcome {
        let (tokens, cost) = (part.rate.range(self.level(part), now), part.cost.into());
        match (*tokens.start() >= cost, *tokens.end() >= cost) {
            (true, _) => Outcome::Allowed,
            (_, false) => Outcome::Refused,
            _ => Outcome::Either,
        }
    }

    fn take(&mut self, part: &Part, now: Whole) {
        let taken = part.rate.taken(self.level(part), now, part.cost.into());
        self.0.insert((part.limit.clone(), part.key.clone()), taken);
    }
}

fn whole(time: Duration) -> Whole {
    time.as_nanos().try_into().unwrap()
}
