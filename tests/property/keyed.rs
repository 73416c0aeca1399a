//! A table of many buckets against a map of references, decision for decision, while it has room:
//! takes, reservations, refunds, resets, rules and replaced quotas on a few keys that take each
//! other's slots over. The table is as small as there is, so that they do.
//!
//! Seen to fail when the code was broken on purpose: a refund of another table's or rule's
//! decision; the takeover of a bucket that is not full (which clocks that are behind catch too);
//! rules that keep their buckets when the quota is replaced; a rule that makes the others'
//! decisions strangers; holes sold to another key; a reset that does nothing; a first charge that
//! is free.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use crate::reference::{Answer, Charge, Reference, generate, grid::HORIZON, integer, nanos, rate};
use proptest::{prelude::*, sample::Index};
use tollgate::{Decision, KeyedLimiter, ManualClock, Quota};

/// The same in every run, so that a failure comes back.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Key = u8;

/// Fewer than the table has slots, in whichever of its sets they are.
const KEYS: Key = 12;

#[derive(Clone, Debug)]
enum Later {
    Same,
    /// Tokens' time, and some nanoseconds.
    Tokens(u64, i64),
    /// Eighths of the time the capacity takes to come back, and some nanoseconds.
    Eighths(u64, i64),
}

/// Eighths of the key's capacity, and some more.
type Cost = (u64, u64);

#[derive(Clone, Debug)]
enum Ask {
    Take(Key, Cost),
    Reserve(Key, Cost, u64),
    Batch(Vec<(Key, Cost)>),
    Refund(Index),
    Reset(Key),
    SetRule(Key, Quota),
    RemoveRule(Key),
    Replace(Quota),
}

fn calls() -> impl Strategy<Value = Vec<(Later, Ask)>> {
    let off = || -1..=1_i64;
    let later = prop_oneof![
        4 => Just(Later::Same),
        3 => (1..=8_u64, off()).prop_map(|(tokens, off)| Later::Tokens(tokens, off)),
        3 => (1..=12_u64, off()).prop_map(|(eighths, off)| Later::Eighths(eighths, off)),
    ];
    let cost = || (0..=8_u64, 0..=1_u64);
    let ask = prop_oneof![
        20 => (0..KEYS, cost()).prop_map(|(key, cost)| Ask::Take(key, cost)),
        12 => (0..KEYS, cost(), generate::any_size(0, u64::MAX)).prop_map(|(key, cost, wait)| Ask::Reserve(key, cost, wait)),
        4 => prop::collection::vec((0..KEYS, cost()), 0..40).prop_map(Ask::Batch),
        12 => any::<Index>().prop_map(Ask::Refund),
        2 => (0..KEYS).prop_map(Ask::Reset),
        2 => (0..KEYS, generate::crowded()).prop_map(|(key, quota)| Ask::SetRule(key, quota)),
        2 => (0..KEYS).prop_map(Ask::RemoveRule),
        1 => generate::crowded().prop_map(Ask::Replace),
    ];
    prop::collection::vec((later, ask), 1..=100)
}

struct Owned {
    quota: Quota,
    bucket: Reference,
    /// Which table or rule it is; decisions of another are not given back.
    origin: usize,
}

struct Made {
    key: Key,
    decision: Decision,
    charge: Option<Charge>,
    origin: usize,
    /// Resets of any key that had been made before.
    resets: usize,
}

struct Game {
    limiter: KeyedLimiter<Hasher>,
    clock: ManualClock,
    now: u64,
    quota: Quota,
    table: HashMap<Key, Owned>,
    rules: HashMap<Key, Owned>,
    table_origin: usize,
    origins: usize,
    made: Vec<Made>,
    /// The keys that were reset.
    resets: Vec<Key>,
}

impl Game {
    fn new(quota: Quota, start: u64) -> Game {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let builder = KeyedLimiter::builder(quota)
            .max_keys(1)
            .clock(clock.clone())
            .hasher(Hasher::default());
        let limiter = builder.build().unwrap();
        assert!(limiter.stats().slots > KEYS.into());
        let (table, rules) = (HashMap::new(), HashMap::new());
        Game {
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

    fn owned(&mut self, key: Key) -> &mut Owned {
        let (quota, origin) = (self.quota, self.table_origin);
        match self.rules.get_mut(&key) {
            Some(rule) => rule,
            None => self.table.entry(key).or_insert_with(|| Owned {
                quota,
                bucket: Reference::new(&quota),
                origin,
            }),
        }
    }

    fn new_rule(&mut self, quota: Quota) -> Owned {
        self.origins += 1;
        Owned {
            quota,
            bucket: Reference::new(&quota),
            origin: self.origins,
        }
    }

    fn cost(&mut self, key: Key, (eighths, more): Cost) -> u32 {
        let capacity = u64::from(self.owned(key).quota.capacity());
        u32::try_from((capacity * eighths).div_ceil(8) + more).unwrap_or(u32::MAX)
    }

    fn later(&mut self, later: &Later) {
        let capacity = u64::from(self.quota.capacity());
        let (tokens, off) = match *later {
            Later::Same => return,
            Later::Tokens(count, off) => (count, off),
            Later::Eighths(count, off) => (capacity * count / 8, off),
        };
        let time = u128::from(nanos(self.quota.period())) * u128::from(tokens)
            / u128::from(self.quota.tokens());
        let now = self
            .now
            .saturating_add(u64::try_from(time).unwrap_or(u64::MAX))
            .saturating_add_signed(off);
        // Not all the way to the end of time, where nothing comes back.
        if now < HORIZON / 2 {
            self.at(now.max(self.now))
        } else {
            self.next_step()
        }
    }

    fn at(&mut self, now: u64) {
        self.now = now;
        self.clock.set(Duration::from_nanos(now));
    }

    fn play(&mut self, ask: &Ask) -> Result<(), String> {
        match ask {
            Ask::Take(key, cost) => {
                let cost = self.cost(*key, *cost);
                let decision = self.limiter.try_acquire(key, cost);
                self.decided(*key, cost, None, decision)?;
            }
            Ask::Reserve(key, cost, patience) => {
                let (cost, patience) = (self.cost(*key, *cost), Duration::from_nanos(*patience));
                let decision = self.limiter.reserve(key, cost, patience);
                self.decided(*key, cost, Some(patience), decision)?;
            }
            Ask::Batch(batch) => {
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
                    self.decided(batch[number].0, batch[number].1, None, decision)?;
                }
            }
            Ask::Refund(index) if !self.made.is_empty() => {
                self.refund(index.index(self.made.len()))?
            }
            Ask::Refund(_) => {}
            Ask::Reset(key) => {
                self.limiter.reset(key);
                let now = Duration::from_nanos(self.now);
                self.owned(*key).bucket.reset(now);
                self.resets.push(*key);
                self.next_step();
            }
            Ask::SetRule(key, quota) => {
                self.limiter.set_rule(key, *quota);
                let rule = self.new_rule(*quota);
                self.rules.insert(*key, rule);
            }
            Ask::RemoveRule(key) => {
                let had = self.rules.remove(key).is_some();
                ensure(
                    self.limiter.remove_rule(key) == had,
                    "a rule is removed if there is one",
                )?;
            }
            Ask::Replace(quota) => {
                self.limiter.replace(*quota);
                self.quota = *quota;
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
        }
        let rules = (0..KEYS)
            .all(|key| self.limiter.rule(&key) == self.rules.get(&key).map(|rule| rule.quota));
        ensure(
            rules && self.limiter.quota() == self.quota,
            "quotas and rules are what was set",
        )
    }

    fn decided(
        &mut self,
        key: Key,
        cost: u32,
        patience: Option<Duration>,
        decision: Decision,
    ) -> Result<(), String> {
        let (now, answer) = (Duration::from_nanos(self.now), Answer::of(&decision));
        let resets = self.resets.len();
        let owned = self.owned(key);
        let charge = owned.bucket.follow(now, cost, patience, &answer);
        let charge = charge.map_err(|expected| {
            format!("{cost} of {}: {answer:?}, not {expected:?}", owned.quota)
        })?;
        let origin = owned.origin;
        self.made.push(Made {
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
        let gave = self.limiter.refund(&made.key, made.decision);
        // Keys share what is remembered of resets: one of another key may void this.
        let voided = self.resets[made.resets..]
            .iter()
            .any(|&key| key != made.key);
        let now = Duration::from_nanos(self.now);
        let owned = self.owned(made.key);
        let mut refunded = owned.bucket.clone();
        let gives = made.origin == owned.origin
            && made
                .charge
                .as_ref()
                .is_some_and(|charge| refunded.refund(charge));
        if gave {
            ensure(gives, "gave back what is not owed")?;
            owned.bucket = refunded;
        } else {
            // A full bucket may be forgotten, and then there is nothing to give back to.
            ensure(
                !gives || voided || owned.bucket.is_full(now),
                "gave nothing back",
            )?;
        }
        self.next_step();
        Ok(())
    }

    /// A slot that became full at this very step starts its next owner at the step after. This is
    /// not for the references to know, so time moves on.
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
        self.at(self.now + 3 * step);
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: ProptestConfig::default().cases / 2, ..ProptestConfig::default()
    })]

    #[test]
    fn a_table_decides_as_a_map_of_references(
        quota in prop_oneof![generate::crowded(), generate::quota()], start in generate::any_size(0, 1 << 50), calls in calls(),
    ) {
        let mut game = Game::new(quota, start);
        for (later, ask) in &calls {
            game.later(later);
            game.play(ask).map_err(|why| TestCaseError::fail(format!("{ask:?} at {}: {why}", game.now)))?;
        }
        let stats = game.limiter.stats();
        prop_assert_eq!((stats.evicted_early, stats.saturated), (0, 0));
    }

    /// Whatever clocks say, and whoever is forgotten meanwhile: no key is given more than its
    /// capacity and what came back.
    #[test]
    fn clocks_that_are_behind_mint_nothing(
        quota in generate::crowded_greedy(), calls in prop::collection::vec((0..KEYS, 0..=60_u64, 1..=3_u32), 1..400),
    ) {
        let limiter = Game::new(quota, 0).limiter;
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
            prop_assert!(integer(tokens) <= most, "{}: key {} was given {}", quota, key, tokens);
        }
    }
}
