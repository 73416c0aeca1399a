//! Changes while it runs: the default quota, and quotas of single keys.

use std::{
    hash::{BuildHasher, Hash},
    sync::atomic::Ordering,
};

use super::{
    KeyedLimiter,
    generation::{Generation, Rule, Rules},
    sync::Arc,
    table::Table,
};
use crate::{bucket::Bucket, quota::Quota};

impl<S: BuildHasher> KeyedLimiter<S> {
    /// Puts another quota in the place of the default, for everybody, from the next call on. Every bucket is full again,
    /// those of keys with rules too; the rules stay. No call sees half of the change.
    ///
    /// # Panics
    /// When there is no memory for another table.
    pub fn replace(&self, quota: Quota) {
        let (sets, when_full) = self.current.with(|now| (now.table.memory.sets(), now.table.when_full));
        #[expect(clippy::expect_used, reason = "documented, as of a Vec that finds no memory")]
        let table = Arc::new(Table::new(&quota, sets, when_full).expect("no memory for another table"));
        self.current.change(|old| {
            let fresh = |(&hash, rule): (&u64, &Arc<Rule>)| (hash, self.new_rule(rule.bucket.quota()));
            Generation::new(quota, table, self.new_origin(), old.rules.iter().map(fresh).collect())
        });
    }

    /// The default quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.current.with(|generation| generation.quota)
    }

    /// Gives this key alone a quota of its own, and a full bucket. Others keep theirs. Meant for a few keys: every rule costs
    /// some 200 bytes, and every change copies the list.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(1), 1000);
    /// limiter.set_rule("alice", Quota::per_minute(100));
    /// assert_eq!((limiter.available("alice"), limiter.available("bob")), (100, 1));
    /// assert!(limiter.remove_rule("alice"));
    /// ```
    pub fn set_rule<K: Hash + ?Sized>(&self, key: &K, quota: Quota) {
        let hash = self.hash(key);
        self.change_rules(|rules| drop(rules.insert(hash, self.new_rule(quota))));
    }

    /// Takes the key's own quota back, and says whether it had one. Its bucket is then the one it had before.
    pub fn remove_rule<K: Hash + ?Sized>(&self, key: &K) -> bool {
        let hash = self.hash(key);
        let mut removed = false;
        self.change_rules(|rules| removed = rules.remove(&hash).is_some());
        removed
    }

    /// The key's own quota, if it has one.
    #[must_use]
    pub fn rule<K: Hash + ?Sized>(&self, key: &K) -> Option<Quota> {
        let hash = self.hash(key);
        self.current.with(|generation| Some(generation.rule(hash)?.bucket.quota()))
    }

    fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        self.current.change(|old| {
            let mut rules = old.rules.clone();
            change(&mut rules);
            Generation::new(old.quota, Arc::clone(&old.table), old.table_origin, rules)
        });
    }

    fn new_rule(&self, quota: Quota) -> Arc<Rule> {
        Arc::new(Rule { bucket: Bucket::new(quota), origin: self.new_origin() })
    }

    fn new_origin(&self) -> u32 {
        self.next_origin.fetch_add(1, Ordering::Relaxed)
    }
}
