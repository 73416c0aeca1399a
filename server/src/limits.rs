//! The limiter, and what is in force: in memory, or shared through Redis.

mod memory;
mod routes;
mod shared;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use tollgate::{
    Decision, KeyedLimiterBuilder, KeyedStats, Quota, QuotaError, RedisError, RedisStats,
    SharedDecision,
};

pub(crate) use self::routes::OfRoutes;
use self::{memory::Memory, shared::Shared};
use crate::{
    client::Id,
    config::{MAX_RULES, Redis},
};

/// Where the buckets are.
pub(crate) enum Limits {
    Memory(Memory),
    Shared(Shared),
}

/// A decision, and where it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// Where buckets are shared: the same, with what it takes to undo it.
    shared: Option<SharedDecision>,
}

/// A change of the default: what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NewDefault {
    pub(crate) capacity: Option<u32>,
    /// A rate is greedy: it takes an interval's place.
    pub(crate) refill_rate: Option<f64>,
}

/// What `GET /config` shows.
#[derive(Debug, Serialize)]
pub(crate) struct InForce {
    #[serde(flatten)]
    default: Shown,
    rules: BTreeMap<String, Shown>,
    /// By label, those that have limits of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<String, Shown>,
}

/// A quota in the words of the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    capacity: u32,
    refill_rate: f64,
    mode: &'static str,
    /// Of an interval: its length in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
}

/// What a configuration says of limits.
pub(crate) struct Terms<'a> {
    pub(crate) default: Quota,
    pub(crate) rules: Vec<(Id<'a>, Quota)>,
}

/// Why a change did not happen.
#[derive(Debug)]
pub(crate) enum NotChanged {
    /// The two values do not fit together.
    Quota(QuotaError),
    /// There are [`MAX_RULES`] already.
    TooManyRules,
    Redis(RedisError),
}

impl Limits {
    pub(crate) fn in_memory(builder: KeyedLimiterBuilder) -> Result<Limits, tollgate::BuildError> {
        Memory::new(builder).map(Limits::Memory)
    }

    /// Connects. A Redis that cannot be reached is no error; a URL that cannot be used is, and a
    /// wrong password.
    pub(crate) async fn shared(
        redis: &Redis,
        quota: Quota,
        max_clients: usize,
    ) -> Result<Limits, RedisError> {
        Shared::connect(redis, quota, max_clients)
            .await
            .map(Limits::Shared)
    }

    /// Decides, if that can be done here and now.
    #[inline]
    pub(crate) fn try_acquire(&self, id: &Id<'_>, cost: u32) -> Option<Decided> {
        match self {
            Limits::Memory(memory) => Some(memory.try_acquire(id, cost)),
            Limits::Shared(shared) => shared.try_acquire_at_once(id, cost),
        }
    }

    /// Decides, wherever the buckets are.
    pub(crate) async fn acquire(&self, id: &Id<'_>, cost: u32) -> Decided {
        match self {
            Limits::Memory(memory) => memory.try_acquire(id, cost),
            Limits::Shared(shared) => shared.try_acquire(id, cost).await,
        }
    }

    /// Undoes a decision on this client.
    pub(crate) async fn refund(&self, id: &Id<'_>, decided: Decided) {
        match (self, decided.shared) {
            (Limits::Memory(memory), _) => memory.refund(id, decided.decision),
            (Limits::Shared(shared), Some(decision)) => shared.refund(id, decision).await,
            (Limits::Shared(_), None) => {}
        }
    }

    /// The default quota.
    pub(crate) fn quota(&self) -> Quota {
        match self {
            Limits::Memory(memory) => memory.quota(),
            Limits::Shared(shared) => shared.quota(),
        }
    }

    /// Changes the default for everybody at once, and makes every bucket full.
    pub(crate) async fn replace(&self, change: NewDefault) -> Result<InForce, NotChanged> {
        match self {
            Limits::Memory(memory) => memory.replace(change),
            Limits::Shared(shared) => shared.replace(change).await,
        }
    }

    /// Gives one client a quota of its own.
    pub(crate) async fn set_rule(&self, id: &Id<'_>, quota: Quota) -> Result<Shown, NotChanged> {
        match self {
            Limits::Memory(memory) => memory.set_rule(id, quota),
            Limits::Shared(shared) => shared.set_rule(id, quota).await,
        }
    }

    /// Takes a client's own quota back. If it had one, the default is now in force, and returned.
    pub(crate) async fn remove_rule(&self, id: &Id<'_>) -> Result<Option<Shown>, NotChanged> {
        match self {
            Limits::Memory(memory) => Ok(memory.remove_rule(id)),
            Limits::Shared(shared) => shared.remove_rule(id).await,
        }
    }

    /// Puts the rules of the configuration in force. Where others share them, what an administrator
    /// has set since stays.
    pub(crate) async fn start_with(&self, rules: Vec<(Id<'_>, Quota)>) -> Result<(), NotChanged> {
        match self {
            Limits::Memory(memory) => {
                let default = memory.quota();
                memory.take_over(
                    &Terms {
                        default,
                        rules: Vec::new(),
                    },
                    &Terms { default, rules },
                )
            }
            Limits::Shared(shared) => {
                shared
                    .start_with(
                        Terms {
                            default: shared.quota(),
                            rules,
                        }
                        .named()
                        .collect(),
                    )
                    .await;
                Ok(())
            }
        }
    }

    /// Puts a new configuration in force in place of an old one. What they have in common stays as
    /// it is, even if an administrator has changed it since, and so do the buckets. Where others
    /// share the limits, the default stays.
    pub(crate) async fn take_over(&self, old: Terms<'_>, new: Terms<'_>) -> Result<(), NotChanged> {
        match self {
            Limits::Memory(memory) => memory.take_over(&old, &new),
            Limits::Shared(shared) => {
                let (set, gone) = new.since(&old);
                shared.take_over(set, gone).await;
                Ok(())
            }
        }
    }

    pub(crate) fn in_force(&self) -> InForce {
        match self {
            Limits::Memory(memory) => memory.in_force(),
            Limits::Shared(shared) => shared.in_force(),
        }
    }

    /// Gives back what others may use, before the process ends.
    pub(crate) async fn close(&self) {
        if let Limits::Shared(shared) = self {
            shared.close().await;
        }
    }

    /// How full the table of buckets is; `None`: they are elsewhere.
    pub(crate) fn table(&self) -> Option<KeyedStats> {
        match self {
            Limits::Memory(memory) => Some(memory.stats()),
            Limits::Shared(_) => None,
        }
    }

    /// How Redis is; `None`: there is none.
    pub(crate) fn redis(&self) -> Option<RedisStats> {
        match self {
            Limits::Memory(_) => None,
            Limits::Shared(shared) => Some(shared.stats()),
        }
    }
}

/// A client's own limit, as a configuration has it.
struct Rule<'a> {
    id: &'a Id<'a>,
    name: String,
    quota: Quota,
}

impl Terms<'_> {
    fn named(&self) -> impl Iterator<Item = Rule<'_>> {
        self.rules.iter().map(|(id, quota)| Rule {
            id,
            name: id.name().into_owned(),
            quota: *quota,
        })
    }

    /// Rules of these terms that the old ones do not have, or otherwise; and rules of the old ones
    /// that these do not have.
    fn since<'a>(&'a self, old: &'a Terms<'a>) -> (Vec<Rule<'a>>, Vec<Rule<'a>>) {
        let [before, after] = [old, self]
            .map(|terms| BTreeMap::from_iter(terms.named().map(|rule| (rule.name, rule.quota))));
        let set = self
            .named()
            .filter(|rule| before.get(&rule.name) != Some(&rule.quota))
            .collect();
        let gone = old
            .named()
            .filter(|rule| !after.contains_key(&rule.name))
            .collect();
        (set, gone)
    }
}

impl NewDefault {
    /// The new default, when this is the old one.
    fn of(self, old: Quota) -> Result<Quota, NotChanged> {
        let capacity = self.capacity.unwrap_or(old.capacity());
        match self.refill_rate {
            Some(rate) => Quota::from_rate(capacity, rate),
            None => old.try_with_capacity(capacity),
        }
        .map_err(NotChanged::Quota)
    }
}

impl InForce {
    fn new(default: Quota, rules: impl IntoIterator<Item = (String, Quota)>) -> InForce {
        let rules = rules
            .into_iter()
            .map(|(name, quota)| (name, quota.into()))
            .collect();
        InForce {
            default: default.into(),
            rules,
            routes: BTreeMap::new(),
        }
    }

    pub(crate) fn and(self, routes: &OfRoutes) -> InForce {
        InForce {
            routes: routes.in_force(),
            ..self
        }
    }
}

impl From<Quota> for Shown {
    fn from(quota: Quota) -> Shown {
        let every = quota.is_interval().then(|| quota.period());
        Shown {
            capacity: quota.capacity(),
            refill_rate: quota.tokens_per_second(),
            mode: if every.is_some() {
                "interval"
            } else {
                "greedy"
            },
            every: every.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl fmt::Display for NotChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotChanged::Quota(error) => error.fmt(f),
            NotChanged::TooManyRules => {
                write!(f, "there are as many rules as there may be, {MAX_RULES}")
            }
            NotChanged::Redis(error) => error.fmt(f),
        }
    }
}

impl Decided {
    /// `local`, `open` or `closed`, when Redis was to decide and could not.
    pub(crate) fn without_redis(&self) -> Option<&'static str> {
        self.shared?.source().without_redis()
    }
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Decided {
        Decided {
            decision,
            shared: None,
        }
    }
}

impl From<SharedDecision> for Decided {
    fn from(shared: SharedDecision) -> Decided {
        Decided {
            decision: shared.decision(),
            shared: Some(shared),
        }
    }
}
