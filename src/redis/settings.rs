//! Shared settings: the default quota and the rules, stored in one hash in Redis.
//!
//! A change is one atomic call of `settings.lua` and gets a new version. Bucket names contain the
//! version that introduced their quota. When the quota changes, all instances start with full
//! buckets under new names, and the old buckets expire. So a bucket is never read with another
//! quota than it was written with, and an instance that learns of a change later uses the old
//! buckets until then.

use std::{collections::HashMap, iter, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    error::RedisError,
    keyspace::{Keyspace, Namespace},
    script::Call,
};
use crate::quota::Quota;

const RULE: &[u8] = b"rule:";

/// Snapshot of the shared settings. Immutable; replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// 0: nothing was read from Redis yet.
    pub(super) version: u64,
    /// Whether the default is a start quota that the next limiter may replace.
    start: bool,
    pub(super) default: Arc<Namespace>,
    pub(super) rules: Rules,
}

/// Keys with a quota of their own.
pub(super) type Rules = HashMap<Vec<u8>, Arc<Namespace>, RandomState>;

impl Settings {
    /// Settings before the first read from Redis.
    pub(super) fn initial(keyspace: &Keyspace, quota: Quota) -> Settings {
        Settings {
            version: 0,
            start: true,
            default: Arc::new(Namespace::new(keyspace, quota, 0, 0)),
            rules: Rules::default(),
        }
    }

    /// Returns the namespace of a key's bucket.
    #[inline]
    pub(super) fn namespace(&self, key: &[u8]) -> &Arc<Namespace> {
        // Most limiters have no rules at all.
        if self.rules.is_empty() {
            return &self.default;
        }
        match self.rules.get(key) {
            Some(rule) => rule,
            None => &self.default,
        }
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        iter::once(&self.default).chain(self.rules.values())
    }

    /// Takes over the namespaces that stay from `known`, with their leases, and returns those that
    /// are gone.
    pub(super) fn inherit(&mut self, known: &Settings) -> Vec<Arc<Namespace>> {
        let mut before: HashMap<_, _> = known
            .namespaces()
            .map(|namespace| (namespace.prefix.clone(), Arc::clone(namespace)))
            .collect();
        for namespace in iter::once(&mut self.default).chain(self.rules.values_mut()) {
            if let Some(same) = before.remove(&namespace.prefix) {
                *namespace = same;
            }
        }
        before.into_values().collect()
    }

    /// Reads the fields of the hash. `None`: the hash does not exist.
    pub(super) fn read(
        keyspace: &Keyspace,
        fields: &HashMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Option<Settings>, RedisError> {
        if fields.is_empty() {
            return Ok(None);
        }
        let version = number(field(fields, "version")?)?;
        let since = number(field(fields, "since")?)?;
        let default = Arc::new(Namespace::new(
            keyspace,
            quota(field(fields, "default")?)?,
            since,
            since,
        ));
        let mut rules = Rules::default();
        for (name, value) in fields {
            if let Some(key) = name.strip_prefix(RULE) {
                let (rule_since, quota_text) =
                    text(value)?.split_once(' ').ok_or_else(unreadable)?;
                let namespace =
                    Namespace::new(keyspace, quota(quota_text)?, number(rule_since)?, since);
                rules.insert(key.to_vec(), Arc::new(namespace));
            }
        }
        Ok(Some(Settings {
            version,
            start: field(fields, "start")? == "1",
            default,
            rules,
        }))
    }

    /// Call that stores these settings if Redis has older ones or none.
    pub(super) fn restore(&self, keyspace: &Keyspace) -> Call {
        let fields = [
            ("default", self.default.limit.quota.to_string()),
            ("since", self.default.since.to_string()),
            ("start", u8::from(self.start).to_string()),
        ];
        let call = keyspace.settings_call(self.version, "restore");
        let call = fields.iter().fold(call, |call, (name, value)| {
            call.bytes(name.as_bytes()).bytes(value.as_bytes())
        });
        self.rules.iter().fold(call, |call, (key, rule)| {
            let value = format!("{} {}", rule.since, rule.limit.quota);
            call.bytes(&[RULE, key].concat()).bytes(value.as_bytes())
        })
    }
}

fn field<'a>(fields: &'a HashMap<Vec<u8>, Vec<u8>>, name: &str) -> Result<&'a str, RedisError> {
    text(fields.get(name.as_bytes()).ok_or_else(unreadable)?)
}

fn text(bytes: &[u8]) -> Result<&str, RedisError> {
    std::str::from_utf8(bytes).map_err(|_| unreadable())
}

fn number(text: &str) -> Result<u64, RedisError> {
    text.parse().map_err(|_| unreadable())
}

fn quota(text: &str) -> Result<Quota, RedisError> {
    text.parse().map_err(|_| unreadable())
}

fn unreadable() -> RedisError {
    RedisError::Failed("settings: expected the format of this version, got another".to_owned())
}
