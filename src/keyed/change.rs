//! Changes while it runs: the default quota, and quotas of single keys.

use std::{
    hash::{BuildHasher, Hash},
    sync::atomic::Ordering,
};

use super::{
    KeyedLimiter,
    generation::{Generation, Rule},
    sync::Arc,
    table::Table,
};
use crate::{bucket::Bucket, quota::Quota};

impl<S: BuildHasher> KeyedLimiter<S> {
    /// Puts another quota in the place of the default, for everybody, from the next call on. Every
    /// bucket is full again, those of keys with rules too; the rules stay. No call sees half of the
    /// change.
    ///
    /// # Panics
    /// When there is no memory for another table.
    pub fn replace(&self, quota: Quota) {
        self.update::<()>(Some(quota), []);
    }

    /// Changes several things at once, so that no call sees a part of it: the default, as
    /// [`KeyedLimiter::replace`] does, and quotas of single keys, as [`KeyedLimiter::set_rule`]
    /// does, or, where there is none, [`KeyedLimiter::remove_rule`]. The list of rules is copied
    /// once, so that this is also the way to set many.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_second(1), 1000);
    /// limiter.set_rule("bob", Quota::per_second(5));
    ///
    /// limiter.update(Some(Quota::per_second(2)), [("alice", Some(Quota::per_second(10))), ("bob", None)]);
    /// assert_eq!((limiter.available("alice"), limiter.available("bob")), (10, 2));
    /// ```
    ///
    /// # Panics
    /// As of [`KeyedLimiter::replace`], when there is a new default.
    pub fn update<'a, K: Hash + ?Sized + 'a>(
        &self,
        default: Option<Quota>,
        rules: impl IntoIterator<Item = (&'a K, Option<Quota>)>,
    ) {
        self.change_all(
            default,
            rules
                .into_iter()
                .map(|(key, quota)| (self.hash(key), quota))
                .collect(),
        );
    }

    /// The default quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.current.with(|generation| generation.quota)
    }

    /// Gives this key alone a quota of its own, and a full bucket. Others keep theirs. Meant for a
    /// few keys: every rule costs some 200 bytes, and every change copies the list.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(1), 1000);
    /// limiter.set_rule("alice", Quota::per_minute(100));
    /// assert_eq!((limiter.available("alice"), limiter.available("bob")), (100, 1));
    /// assert!(limiter.remove_rule("alice"));
    /// ```
    pub fn set_rule<K: Hash + ?Sized>(&self, key: &K, quota: Quota) {
        self.change_all(None, vec![(self.hash(key), Some(quota))]);
    }

    /// Takes the key's own quota back, and says whether it had one. Its bucket is then the one it
    /// had before.
    pub fn remove_rule<K: Hash + ?Sized>(&self, key: &K) -> bool {
        self.change_all(None, vec![(self.hash(key), None)]) > 0
    }

    /// The key's own quota, if it has one.
    #[must_use]
    pub fn rule<K: Hash + ?Sized>(&self, key: &K) -> Option<Quota> {
        let hash = self.hash(key);
        self.current
            .with(|generation| Some(generation.rule(hash)?.bucket.quota()))
    }

    /// Returns how many rules were taken back.
    fn change_all(&self, default: Option<Quota>, changed: Vec<(u64, Option<Quota>)>) -> usize {
        if default.is_none() && changed.is_empty() {
            return 0;
        }
        let default = default.map(|quota| (quota, self.new_table(&quota)));
        let mut removed = 0;
        self.current.change(|old| {
            let (quota, table, origin, mut rules) = match default {
                None => (
                    old.quota,
                    Arc::clone(&old.table),
                    old.table_origin,
                    old.rules.clone(),
                ),
                Some((quota, table)) => {
                    let fresh = |(&hash, rule): (&u64, &Arc<Rule>)| {
                        (hash, self.new_rule(rule.bucket.quota()))
                    };
                    (
                        quota,
                        table,
                        self.new_origin(),
                        old.rules.iter().map(fresh).collect(),
                    )
                }
            };
            for (hash, quota) in changed {
                match quota {
                    Some(quota) => drop(rules.insert(hash, self.new_rule(quota))),
                    None => removed += usize::from(rules.remove(&hash).is_some()),
                }
            }
            Generation::new(quota, table, origin, rules)
        });
        removed
    }

    /// As large as the one in use.
    #[expect(
        clippy::expect_used,
        reason = "documented, as of a Vec that finds no memory"
    )]
    fn new_table(&self, quota: &Quota) -> Arc<Table> {
        let (sets, when_full) = self
            .current
            .with(|now| (now.table.memory.sets(), now.table.when_full));
        Arc::new(Table::new(quota, sets, when_full).expect("no memory for another table"))
    }

    fn new_rule(&self, quota: Quota) -> Arc<Rule> {
        Arc::new(Rule {
            bucket: Bucket::new(quota),
            origin: self.new_origin(),
        })
    }

    fn new_origin(&self) -> u32 {
        self.next_origin.fetch_add(1, Ordering::Relaxed)
    }
}
