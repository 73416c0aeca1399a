//! Comparison of a keyed limiter with a map of reference buckets, decision by decision, while the
//! table has room: takes, reservations, refunds, resets, rules and replaced quotas on a few keys.
//! The table has the smallest possible size, so that the keys take over each other's slots.
//!
//! Mutations that these tests caught: a refund of another table's or rule's decision; the takeover
//! of a bucket that is not full (which clocks that are behind catch too); rules that keep their
//! buckets when the quota is replaced; a rule that changes the origin of other keys' decisions; a
//! reset that does nothing; a first charge that is free.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use crate::reference::{
    Charge, DecisionFields, Reference, integer, nanos, rate, strategies, ticks::HORIZON,
};
use num_bigint::BigInt;
use proptest::{prelude::*, sample::Index};
use tollgate::{Decision, KeyedLimiter, ManualClock, Quota};

/// Deterministic, so that a failure is reproducible.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Key = u8;

/// Fewer keys than a key's two sets have slots, whichever sets the keys have.
const KEYS: Key = 12;

#[derive(Clone, Debug)]
enum Pause {
    None,
    /// The time in which so many tokens are refilled, and an offset in nanoseconds.
    Tokens(u64, i64),
    /// Eighths of the time in which the capacity is refilled, and an offset in nanoseconds.
    Eighths(u64, i64),
}

/// Eighths of the key's capacity, and a number of tokens to add.
type Cost = (u64, u64);

#[derive(Clone, Debug)]
enum Call {
    Take(Key, Cost),
    Reserve(Key, Cost, u64),
    Batch(Vec<(Key, Cost)>),
    Refund(Index),
    Reset(Key),
    SetRule(Key, Quota),
    RemoveRule(Key),
    Replace(Quota),
    /// Sets what is in force: the key's rule, and the default quota.
    Reapply(Key),
    ReplaceAndReset,
}

fn calls() -> impl Strategy<Value = Vec<(Pause, Call)>> {
    let offset = || -1..=1_i64;
    let pause = prop_oneof![
        4 => Just(Pause::None),
        3 => (1..=8_u64, offset()).prop_map(|(tokens, offset)| Pause::Tokens(tokens, offset)),
        3 => (1..=12_u64, offset()).prop_map(|(eighths, offset)| Pause::Eighths(eighths, offset)),
    ];
    let cost = || (0..=8_u64, 0..=1_u64);
    let call = prop_oneof![
        20 => (0..KEYS, cost()).prop_map(|(key, cost)| Call::Take(key, cost)),
        12 => (0..KEYS, cost(), strategies::log_uniform(0, u64::MAX)).prop_map(|(key, cost, wait)| Call::Reserve(key, cost, wait)),
        4 => prop::collection::vec((0..KEYS, cost()), 0..40).prop_map(Call::Batch),
        12 => any::<Index>().prop_map(Call::Refund),
        2 => (0..KEYS).prop_map(Call::Reset),
        2 => (0..KEYS, strategies::queueing_quota()).prop_map(|(key, quota)| Call::SetRule(key, quota)),
        2 => (0..KEYS).prop_map(Call::RemoveRule),
        1 => strategies::queueing_quota().prop_map(Call::Replace),
        2 => (0..KEYS).prop_map(Call::Reapply),
        1 => Just(Call::ReplaceAndReset),
    ];
    prop::collection::vec((pause, call), 1..=100)
}

/// Reference bucket of a key.
struct KeyReference {
    quota: Quota,
    bucket: Reference,
    /// Identifies the table or rule. Decisions of another origin are not refunded.
    origin: usize,
    /// Stamp of the last charge, and the number of resets, of any key, that were made before it.
    stamp: Option<(BigInt, usize)>,
}

/// A decision that was made, and may be refunded.
struct PastDecision {
    key: Key,
    decision: Decision,
    charge: Option<Charge>,
    origin: usize,
    /// Number of resets, of any key, that were made before the stamp of the charge.
    resets: usize,
}

/// The limiter under test, and its reference.
struct Comparison {
    limiter: KeyedLimiter<Key, Hasher>,
    clock: ManualClock,
    now: u64,
    quota: Quota,
    table: HashMap<Key, KeyReference>,
    rules: HashMap<Key, KeyReference>,
    table_origin: usize,
    origins: usize,
    made: Vec<PastDecision>,
    /// Keys that were reset, in order.
    resets: Vec<Key>,
}

impl Comparison {
    fn new(quota: Quota, start: u64) -> Comparison {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let builder = KeyedLimiter::builder(quota)
            .max_keys(1)
            .clock(clock.clone())
            .hasher(Hasher::default());
        let limiter = builder.build().unwrap();
        assert!(limiter.stats().slots > KEYS.into());
        let (table, rules) = (HashMap::new(), HashMap::new());
        Comparison {
            limiter,
            clock,
            now: start,
            quota,
            table,
            rules,
            table_origin: 0,
            origins: 0,
            made: Vec::new(),
            resets: Vec::new(),
        }
    }

    fn reference(&mut self, key: Key) -> &mut KeyReference {
        let (quota, origin) = (self.quota, self.table_origin);
        match self.rules.get_mut(&key) {
            Some(rule) => rule,
            None => self.table.entry(key).or_insert_with(|| KeyReference {
                quota,
                bucket: Reference::new(&quota),
                origin,
                stamp: None,
            }),
        }
    }

    fn new_rule(&mut self, quota: Quota) -> KeyReference {
        self.origins += 1;
        KeyReference {
            quota,
            bucket: Reference::new(&quota),
            origin: self.origins,
            stamp: None,
        }
    }

    fn cost(&mut self, key: Key, (eighths, extra): Cost) -> u32 {
        let capacity = u64::from(self.reference(key).quota.capacity());
        u32::try_from((capacity * eighths).div_ceil(8) + extra).unwrap_or(u32::MAX)
    }

    fn pause(&mut self, pause: &Pause) {
        let capacity = u64::from(self.quota.capacity());
        let (tokens, offset) = match *pause {
            Pause::None => return,
            Pause::Tokens(count, offset) => (count, offset),
            Pause::Eighths(count, offset) => (capacity * count / 8, offset),
        };
        let time = u128::from(nanos(self.quota.period())) * u128::from(tokens)
            / u128::from(self.quota.tokens());
        let now = self
            .now
            .saturating_add(u64::try_from(time).unwrap_or(u64::MAX))
            .saturating_add_signed(offset);
        // Stays far from the end of time, where nothing is refilled.
        if now < HORIZON / 2 {
            self.set_time(now.max(self.now))
        } else {
            self.next_step()
        }
    }

    fn set_time(&mut self, now: u64) {
        self.now = now;
        self.clock.set(Duration::from_nanos(now));
    }

    fn apply(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Call::Take(key, cost) => {
                let cost = self.cost(*key, *cost);
                let decision = self.limiter.try_acquire(key, cost);
                self.compare(*key, cost, None, decision)?;
            }
            Call::Reserve(key, cost, max_wait) => {
                let (cost, max_wait) = (self.cost(*key, *cost), Duration::from_nanos(*max_wait));
                let decision = self.limiter.reserve(key, cost, max_wait);
                self.compare(*key, cost, Some(max_wait), decision)?;
            }
            Call::Batch(batch) => {
                let batch: Vec<_> = batch
                    .iter()
                    .map(|&(key, cost)| (key, self.cost(key, cost)))
                    .collect();
                let mut decisions = Vec::new();
                self.limiter.try_acquire_batch(&batch, |number, decision| {
                    decisions.push((number, decision))
                });
                for (expected, (number, decision)) in decisions.into_iter().enumerate() {
                    assert_eq!(number, expected);
                    self.compare(batch[number].0, batch[number].1, None, decision)?;
                }
            }
            Call::Refund(index) if !self.made.is_empty() => {
                self.refund(index.index(self.made.len()))?
            }
            Call::Refund(_) => {}
            Call::Reset(key) => {
                self.limiter.reset(key);
                let now = Duration::from_nanos(self.now);
                self.reference(*key).bucket.reset(now);
                self.resets.push(*key);
                self.next_step();
            }
            Call::SetRule(key, quota) => {
                self.limiter.set_rule(key, *quota);
                if self.rules.get(key).is_none_or(|rule| rule.quota != *quota) {
                    let rule = self.new_rule(*quota);
                    self.rules.insert(*key, rule);
                }
            }
            Call::RemoveRule(key) => {
                let had = self.rules.remove(key).is_some();
                ensure(
                    self.limiter.remove_rule(key) == had,
                    "remove_rule: expected whether the key had a rule",
                )?;
            }
            Call::Replace(quota) => {
                self.limiter.replace(*quota);
                if self.quota != *quota {
                    self.quota = *quota;
                    self.reset_all();
                }
            }
            Call::Reapply(key) => {
                if let Some(rule) = self.rules.get(key) {
                    self.limiter.set_rule(key, rule.quota);
                }
                self.limiter.replace(self.quota);
            }
            Call::ReplaceAndReset => {
                self.limiter.replace_and_reset(self.quota);
                self.reset_all();
            }
        }
        let rules = (0..KEYS)
            .all(|key| self.limiter.rule(&key) == self.rules.get(&key).map(|rule| rule.quota));
        ensure(
            rules && self.limiter.quota() == self.quota,
            "quota and rules: expected those that were set",
        )
    }

    /// Fills every bucket of the reference.
    fn reset_all(&mut self) {
        self.table.clear();
        self.origins += 1;
        self.table_origin = self.origins;
        let rules: Vec<_> = self
            .rules
            .drain()
            .map(|(key, rule)| (key, rule.quota))
            .collect();
        for (key, quota) in rules {
            let rule = self.new_rule(quota);
            self.rules.insert(key, rule);
        }
    }

    fn compare(
        &mut self,
        key: Key,
        cost: u32,
        max_wait: Option<Duration>,
        decision: Decision,
    ) -> Result<(), String> {
        let (now, fields) = (
            Duration::from_nanos(self.now),
            DecisionFields::of(&decision),
        );
        let resets = self.resets.len();
        let reference = self.reference(key);
        let charge = reference.bucket.follow(now, cost, max_wait, &fields);
        let charge = charge.map_err(|expected| {
            format!(
                "{cost} of {}: expected {expected:?}, got {fields:?}",
                reference.quota
            )
        })?;
        let origin = reference.origin;
        // A charge in an open window has the stamp of the window's first.
        let resets = match (&charge, &mut reference.stamp) {
            (Some(charge), Some((stamp, resets))) if charge.stamp() == stamp => *resets,
            (Some(charge), last) => {
                *last = Some((charge.stamp().clone(), resets));
                resets
            }
            (None, _) => resets,
        };
        self.made.push(PastDecision {
            key,
            decision,
            charge,
            origin,
            resets,
        });
        Ok(())
    }

    fn refund(&mut self, number: usize) -> Result<(), String> {
        let made = self.made.swap_remove(number);
        let gave_back = self.limiter.refund(&made.key, made.decision).unwrap();
        // Keys share invalidation stamps: a reset of another key may void refunds of earlier stamps.
        let voided = self.resets[made.resets..]
            .iter()
            .any(|&key| key != made.key);
        let now = Duration::from_nanos(self.now);
        let reference = self.reference(made.key);
        let mut refunded = reference.bucket.clone();
        let gives = made.origin == reference.origin
            && made
                .charge
                .as_ref()
                .is_some_and(|charge| refunded.refund(charge));
        if gave_back {
            ensure(gives, "refund: gave back tokens that are not owed")?;
            reference.bucket = refunded;
        } else {
            // A full bucket may have been evicted, and then a refund has no bucket.
            ensure(
                !gives || voided || reference.bucket.is_full(now),
                "refund: gave nothing back",
            )?;
        }
        self.next_step();
        Ok(())
    }

    /// Advances the clock. A slot that becomes full at one step starts its next owner at the step
    /// after, which the references do not model.
    fn next_step(&mut self) {
        let quotas = self
            .rules
            .values()
            .map(|rule| rule.quota)
            .chain([self.quota]);
        let step = quotas
            .map(|quota| nanos(quota.resolution()))
            .max()
            .unwrap_or_default();
        self.set_time(self.now + 3 * step);
    }
}

/// A charge after the reset of another key may be in a window that began before it.
#[test]
fn refunds_of_an_open_window_after_resets_of_other_keys() {
    let minute = Quota::interval(10, Duration::from_secs(60));
    let mut refunded = 0;
    for (key, other) in (0..KEYS).flat_map(|key| (0..KEYS).map(move |other| (key, other))) {
        let mut comparison = Comparison::new(minute, 0);
        for call in [
            Call::Take(key, (1, 0)),
            Call::Take(other, (1, 0)),
            Call::Reset(other),
            Call::Take(key, (1, 0)),
        ] {
            comparison.apply(&call).unwrap();
        }
        let last = comparison.made.len() - 1;
        let before = comparison.limiter.available(&key);
        comparison.refund(last).unwrap();
        refunded += usize::from(comparison.limiter.available(&key) > before);
    }
    assert!(refunded > 0);
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: ProptestConfig::default().cases / 2, ..ProptestConfig::default()
    })]

    #[test]
    fn a_table_decides_like_a_map_of_references(
        quota in prop_oneof![strategies::queueing_quota(), strategies::quota()], start in strategies::log_uniform(0, 1 << 50), calls in calls(),
    ) {
        let mut comparison = Comparison::new(quota, start);
        for (pause, call) in &calls {
            comparison.pause(pause);
            comparison.apply(call).map_err(|why| TestCaseError::fail(format!("{call:?} at {}: {why}", comparison.now)))?;
        }
        let stats = comparison.limiter.stats();
        prop_assert_eq!((stats.evicted_early, stats.saturated), (0, 0));
    }

    /// No key is admitted more than its capacity and refill, whatever the clocks show and whichever
    /// keys are evicted.
    #[test]
    fn clocks_that_are_behind_add_no_tokens(
        quota in strategies::queueing_greedy_quota(), calls in prop::collection::vec((0..KEYS, 0..=60_u64, 1..=3_u32), 1..400),
    ) {
        let limiter = Comparison::new(quota, 0).limiter;
        let token = (nanos(quota.period()) / quota.tokens()).max(1);
        let (mut last, mut admitted) = (0, HashMap::<Key, u64>::new());
        for (key, tokens, cost) in calls {
            let now = token * tokens / 2;
            last = last.max(now);
            if limiter.try_acquire_at(Duration::from_nanos(now), &key, cost).is_allowed() {
                *admitted.entry(key).or_default() += u64::from(cost);
            }
        }
        let step = quota.resolution().as_nanos();
        let most = integer(quota.capacity()) + rate(&quota) * integer(u128::from(last) + step);
        for (key, tokens) in admitted {
            prop_assert!(integer(tokens) <= most, "{}: key {} was admitted {}", quota, key, tokens);
        }
    }
}
