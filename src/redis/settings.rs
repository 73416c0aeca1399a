//! What all instances share: the default quota and the rules, as they stand in one hash in Redis.
//!
//! A change is one call of `settings.lua`, atomic, and brings a new version. Buckets are named by
//! the version that brought their quota: when that changes, everybody begins with a full bucket
//! under a new name, and the old ones expire by themselves. So nobody ever reads a bucket by
//! another quota than it was written by, and instances that learn of a change a moment later go on
//! with the old buckets until then.

use std::{collections::HashMap, iter, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    error::RedisError,
    lease::keys::Keys,
    leasing::Leasing,
    script::{Call, SETTINGS},
    terms::Limit,
};
use crate::quota::Quota;

const RULE: &[u8] = b"rule:";

/// A quota, and the name of the buckets that have it.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) limit: Limit,
    /// The version that brought it.
    pub(super) since: u64,
    prefix: Vec<u8>,
    /// Those that have something on lease, if this quota is leased.
    pub(super) keys: Option<Keys>,
}

impl Owner {
    fn new(names: &Names, quota: Quota, since: u64, default_since: u64) -> Owner {
        let Names {
            prefix, leasing, ..
        } = names;
        // Buckets with leases beside them are not to be taken for such without.
        let mode = if leasing.is_some() { "l" } else { "" };
        // When the default is replaced, the rules' buckets are full again as well.
        let (name, most) = if since == default_since {
            (
                format!("{prefix}:{mode}{since:x}:"),
                leasing.as_ref().map_or(0, |leasing| leasing.max_keys),
            )
        } else {
            (format!("{prefix}:{mode}{default_since:x}.{since:x}:"), 1)
        };
        let limit = Limit::new(quota);
        let keys = leasing
            .as_ref()
            .and_then(|leasing| leasing.keys(&limit, most));
        Owner {
            limit,
            since,
            prefix: name.into_bytes(),
            keys,
        }
    }

    /// The name of a key's bucket.
    pub(super) fn bucket(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}

/// What an instance knows of the shared settings. Never changed, only replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// 0: nothing is known yet.
    pub(super) version: u64,
    start: bool,
    pub(super) default: Arc<Owner>,
    pub(super) rules: Rules,
}

/// Keys with a quota of their own.
pub(super) type Rules = HashMap<Vec<u8>, Arc<Owner>, RandomState>;

impl Settings {
    /// Before anything is learned.
    pub(super) fn unknown(names: &Names, quota: Quota) -> Settings {
        Settings {
            version: 0,
            start: true,
            default: Arc::new(Owner::new(names, quota, 0, 0)),
            rules: Rules::default(),
        }
    }

    #[inline]
    pub(super) fn owner(&self, key: &[u8]) -> &Arc<Owner> {
        // Most limiters have no rules at all.
        if self.rules.is_empty() {
            return &self.default;
        }
        match self.rules.get(key) {
            Some(rule) => rule,
            None => &self.default,
        }
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Arc<Owner>> {
        iter::once(&self.default).chain(self.rules.values())
    }

    /// Goes on with what is known of quotas that stay, and returns those that do not.
    pub(super) fn succeed(&mut self, known: &Settings) -> Vec<Arc<Owner>> {
        let mut before: HashMap<_, _> = known
            .owners()
            .map(|owner| (owner.prefix.clone(), Arc::clone(owner)))
            .collect();
        for owner in iter::once(&mut self.default).chain(self.rules.values_mut()) {
            if let Some(same) = before.remove(&owner.prefix) {
                *owner = same;
            }
        }
        before.into_values().collect()
    }

    /// From the fields of the hash. `None`: there is none.
    pub(super) fn read(
        names: &Names,
        fields: &HashMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Option<Settings>, RedisError> {
        if fields.is_empty() {
            return Ok(None);
        }
        let version = number(field(fields, "version")?)?;
        let since = number(field(fields, "since")?)?;
        let default = Arc::new(Owner::new(
            names,
            quota(field(fields, "default")?)?,
            since,
            since,
        ));
        let mut rules = Rules::default();
        for (name, value) in fields {
            if let Some(key) = name.strip_prefix(RULE) {
                let (rule_since, text) = text(value)?.split_once(' ').ok_or_else(unreadable)?;
                rules.insert(
                    key.to_vec(),
                    Arc::new(Owner::new(names, quota(text)?, number(rule_since)?, since)),
                );
            }
        }
        Ok(Some(Settings {
            version,
            start: field(fields, "start")? == "1",
            default,
            rules,
        }))
    }

    /// The call that puts these settings where there are older ones or none.
    pub(super) fn restore<'a>(&self, names: &'a Names) -> Call<'a> {
        let fields = [
            ("default", self.default.limit.quota.to_string()),
            ("since", self.default.since.to_string()),
            ("start", u8::from(self.start).to_string()),
        ];
        let call = names.change(self.version, "restore");
        let call = fields.iter().fold(call, |call, (name, value)| {
            call.bytes(name.as_bytes()).bytes(value.as_bytes())
        });
        self.rules.iter().fold(call, |call, (key, rule)| {
            let value = format!("{} {}", rule.since, rule.limit.quota);
            call.bytes(&[RULE, key].concat()).bytes(value.as_bytes())
        })
    }
}

/// The names of what is shared.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) prefix: String,
    /// The hash of the settings, and the channel on which changes are told.
    pub(super) settings: Vec<u8>,
    /// In lease mode, how.
    pub(super) leasing: Option<Leasing>,
}

impl Names {
    pub(super) fn new(prefix: String, leasing: Option<Leasing>) -> Names {
        let settings = format!("{prefix}:settings").into_bytes();
        Names {
            prefix,
            settings,
            leasing,
        }
    }

    /// The beginning of a call that changes the settings.
    pub(super) fn change(&self, known: u64, verb: &str) -> Call<'_> {
        Call::new(&SETTINGS, &self.settings)
            .bytes(&self.settings)
            .number(known)
            .bytes(verb.as_bytes())
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
    RedisError::Failed("the shared settings are not such as this version writes".to_owned())
}
