//! Limits with names: of each route with a quota of its own and of each quota of `[[limits]]`. Each has
//! a separate limiter, with a table in memory or a key prefix in Redis.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::JoinSet;
use tollgate::{Clock, KeyedLimiter, Quota, RedisStats};

use super::{
    ban::Ban,
    config::{LimitView, QuotaView},
    limiter::Limiter,
    state::StateFile,
};
use crate::{
    client_slots::ClientSlots,
    config::{Limit, Redis, Route, RouteQuota, Settings, State},
    values::LimitKey,
};

/// Default number of clients of a limit, unless the server's own `max_clients` is lower. With many
/// limits, tables as large as the default limiter's would need much memory, and `GET /metrics`
/// visits every slot of each.
const DEFAULT_MAX_CLIENTS: usize = 100_000;

/// Limiters by name.
#[derive(Clone)]
pub(crate) struct NamedLimits {
    kind: Kind,
    clock: Clock,
    limits: BTreeMap<String, NamedLimit>,
    /// Slots of concurrent requests, with their number and key.
    slots: BTreeMap<String, Slots>,
    bans: BTreeMap<String, NamedBan>,
}

/// Ban of a limit.
#[derive(Clone)]
struct NamedBan {
    key: Vec<LimitKey>,
    max_clients: usize,
    ban: Arc<Ban>,
}

/// Slots of concurrent requests of each key.
#[derive(Clone)]
struct Slots {
    max: usize,
    key: Vec<LimitKey>,
    slots: Arc<ClientSlots>,
}

/// What the limits belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// By the label of the route.
    Routes,
    /// By the name of the policy.
    Limits,
}

#[derive(Clone)]
struct NamedLimit {
    quota: Quota,
    max_clients: usize,
    /// Another key means other buckets.
    key: Vec<LimitKey>,
    hash_tags: bool,
    limiter: Arc<Limiter>,
}

/// Settings of a limit.
struct Wanted {
    label: String,
    quota: Quota,
    max_clients: Option<usize>,
    /// Of a route, empty: its key is the client.
    key: Vec<LimitKey>,
    /// A request asks for several buckets of the key: of several quotas, or of a ban. Those of a single
    /// one keep the names that they have always had.
    hash_tags: bool,
}

impl NamedLimits {
    /// Creates no limits. Those that are created later decide by this clock.
    pub(crate) fn none(kind: Kind, clock: Clock) -> NamedLimits {
        NamedLimits {
            kind,
            clock,
            limits: BTreeMap::new(),
            slots: BTreeMap::new(),
            bans: BTreeMap::new(),
        }
    }

    /// Creates the limiters of the settings. Limiters whose settings are unchanged are kept with
    /// their buckets. So are those in memory of which only the quota has changed: [`apply_quotas`]
    /// sets it, and requests that wait follow.
    ///
    /// [`apply_quotas`]: NamedLimits::apply_quotas
    pub(crate) async fn updated(&self, settings: &Settings) -> Result<NamedLimits, String> {
        self.check_costs(settings)?;
        let (mut limits, mut tasks) = (BTreeMap::new(), JoinSet::new());
        for wanted in self.kind.wanted(settings) {
            let Wanted {
                label,
                quota,
                max_clients,
                key,
                hash_tags,
            } = wanted;
            let max_clients = self::max_clients(max_clients, settings);
            match self.limits.get(&label) {
                Some(same)
                    if (same.max_clients, &same.key) == (max_clients, &key)
                        && same.hash_tags == hash_tags
                        && (same.quota == quota || !same.limiter.is_shared()) =>
                {
                    let kept = NamedLimit {
                        quota,
                        ..same.clone()
                    };
                    limits.insert(label, kept);
                }
                _ => {
                    let (kind, clock) = (self.kind, self.clock.clone());
                    let (state, redis) = (settings.state.clone(), settings.redis.clone());
                    let redis = redis.map(|redis| Redis { hash_tags, ..redis });
                    // Concurrently: connecting to an unreachable Redis waits for a timeout.
                    tasks.spawn(async move {
                        let place = (state.as_ref(), redis);
                        let created =
                            NamedLimit::new(kind, &label, (quota, max_clients), place, clock);
                        let limit = created.await?;
                        let limit = NamedLimit {
                            key,
                            hash_tags,
                            ..limit
                        };
                        Ok::<_, String>((label, limit))
                    });
                }
            }
        }
        while let Some(result) = tasks.join_next().await {
            let (label, limit) =
                result.map_err(|error| format!("{}: {error}", self.kind.key()))??;
            limits.insert(label, limit);
        }
        Ok(NamedLimits {
            limits,
            slots: self.updated_slots(settings),
            bans: self.updated_bans(settings).await?,
            ..self.clone()
        })
    }

    /// Checks that the cost of every limit fits into its quota after a reload. A quota of the file that
    /// is unchanged does not replace that of an administrator, which may be lower.
    fn check_costs(&self, settings: &Settings) -> Result<(), String> {
        for (name, quota, cost) in self.kind.costs(settings) {
            let Some(known) = self.limits.get(name).filter(|known| known.quota == quota) else {
                continue;
            };
            let effective = known.limiter.quota();
            if cost > effective.capacity() {
                return Err(format!(
                    "limits: {name}: expected a cost of at most {}, the capacity of {effective}, which PUT /admin/limits/{name} changes, got {cost}",
                    effective.capacity()
                ));
            }
        }
        Ok(())
    }

    /// Sets the quotas that the file has changed since `old`, after the reload has succeeded. An
    /// administrator may have set them already: then the buckets stay.
    pub(crate) async fn apply_quotas(&self, old: &NamedLimits) {
        for (label, limit) in &self.limits {
            let is_changed = |known: &NamedLimit| known.quota != limit.quota;
            if !old.limits.get(label).is_some_and(is_changed)
                || limit.limiter.quota() == limit.quota
            {
                continue;
            }
            if let Err(error) = limit.limiter.set_quota(limit.quota).await {
                let (limit, quota) = (label, limit.quota);
                tracing::warn!(%limit, %quota, %error, "quota of the file not set; reload again");
            }
        }
    }

    /// Logs quotas that are not those of the file, and costs above their capacity.
    pub(crate) fn log_differences(&self, settings: &Settings) {
        let place = match settings.redis {
            Some(_) => "Redis",
            None => "memory",
        };
        for (name, limit) in &self.limits {
            let (effective, of_file) = (limit.limiter.quota(), limit.quota);
            if effective != of_file {
                tracing::warn!(
                    limit = %name, %effective, %of_file,
                    "quota in {place} differs from the file and is kept; change it with PUT /admin/limits/{name}, or in the file and by SIGHUP"
                );
            }
        }
        for (name, _, cost) in self.kind.costs(settings) {
            if let Some(quota) = self.limits.get(name).map(|limit| limit.limiter.quota())
                && cost > quota.capacity()
            {
                tracing::warn!(limit = %name, cost, effective = %quota, "cost above the capacity; such requests never pass");
            }
        }
    }

    /// Returns the slots of the settings. Those that are unchanged are kept.
    fn updated_slots(&self, settings: &Settings) -> BTreeMap<String, Slots> {
        let limits = match self.kind {
            Kind::Routes => &[][..],
            Kind::Limits => &settings.limits.list,
        };
        let with_slots = limits
            .iter()
            .filter_map(|limit| Some((limit, limit.concurrency?)));
        let slots = with_slots.map(|(limit, max)| {
            let same = |known: &&Slots| known.max == max && known.key == limit.key;
            let slots = match self.slots.get(&limit.name).filter(same) {
                Some(same) => same.clone(),
                None => Slots {
                    max,
                    key: limit.key.clone(),
                    slots: ClientSlots::new(max, max),
                },
            };
            (limit.name.clone(), slots)
        });
        slots.collect()
    }

    /// Returns the bans of the settings. Those that are unchanged are kept.
    async fn updated_bans(
        &self,
        settings: &Settings,
    ) -> Result<BTreeMap<String, NamedBan>, String> {
        let limits = match self.kind {
            Kind::Routes => &[][..],
            Kind::Limits => &settings.limits.list,
        };
        let (mut bans, mut tasks) = (BTreeMap::new(), JoinSet::new());
        for limit in limits {
            let (Some(wanted), Some(name)) = (limit.ban, limit.ban_policy()) else {
                continue;
            };
            let max_clients = max_clients(limit.max_clients, settings);
            let same = |known: &&NamedBan| {
                (known.ban.settings(), known.max_clients, &known.key)
                    == (wanted, max_clients, &limit.key)
            };
            if let Some(same) = self.bans.get(&limit.name).filter(same) {
                bans.insert(limit.name.clone(), same.clone());
                continue;
            }
            let (limit, key) = (limit.name.clone(), limit.key.clone());
            let (clock, redis) = (self.clock.clone(), settings.redis.clone());
            let state = settings.state.clone();
            tasks.spawn(async move {
                let ban = Ban::new(
                    &name,
                    wanted,
                    max_clients,
                    &clock,
                    (state.as_ref(), redis.as_ref()),
                )
                .await?;
                let ban = NamedBan {
                    key,
                    max_clients,
                    ban: Arc::new(ban),
                };
                Ok::<_, String>((limit, ban))
            });
        }
        while let Some(result) = tasks.join_next().await {
            let (limit, ban) = result.map_err(|error| format!("limits: {error}"))??;
            bans.insert(limit, ban);
        }
        Ok(bans)
    }

    /// Returns the ban of the limit with this name, if it has one.
    pub(super) fn ban(&self, name: &str) -> Option<Arc<Ban>> {
        self.bans.get(name).map(|ban| Arc::clone(&ban.ban))
    }

    /// Returns the slots of the limit with this name, if it bounds concurrent requests.
    pub(super) fn slots(&self, name: &str) -> Option<Arc<ClientSlots>> {
        self.slots.get(name).map(|slots| Arc::clone(&slots.slots))
    }

    /// Returns the limiter with this label, if there is one.
    pub(crate) fn get(&self, label: &str) -> Option<Arc<Limiter>> {
        self.limits
            .get(label)
            .map(|limit| Arc::clone(&limit.limiter))
    }

    /// Returns the effective quotas by label.
    pub(crate) fn quotas(&self) -> BTreeMap<String, QuotaView> {
        self.limiters()
            .map(|(label, limiter)| (label.to_owned(), limiter.quota().into()))
            .collect()
    }

    /// Returns the effective quotas and bounds of concurrent requests by name.
    pub(crate) fn views(&self) -> BTreeMap<String, LimitView> {
        let of_quota = |quota| LimitView {
            quota: Some(quota),
            concurrency: None,
        };
        let quotas = self.quotas().into_iter();
        let mut views: BTreeMap<_, _> = quotas
            .map(|(name, quota)| (name, of_quota(quota)))
            .collect();
        for (name, slots) in &self.slots {
            views.entry(name.clone()).or_default().concurrency = Some(slots.max);
        }
        views
    }

    /// Returns the limiters by label.
    pub(crate) fn limiters(&self) -> impl Iterator<Item = (&str, &Arc<Limiter>)> {
        self.limits
            .iter()
            .map(|(label, limit)| (label.as_str(), &limit.limiter))
    }

    /// Returns the statistics of the limiters in Redis.
    pub(crate) fn redis_stats(&self) -> impl Iterator<Item = (&str, RedisStats)> {
        self.limiters()
            .filter_map(|(label, limiter)| Some((label, limiter.redis_stats()?)))
    }

    /// Copies all buckets, if the settings have a directory for copies.
    pub(crate) fn copy(&self) -> Result<(), String> {
        self.limiters()
            .try_for_each(|(_, limiter)| limiter.copy())?;
        self.bans.values().try_for_each(|ban| ban.ban.copy())
    }

    /// Returns leased tokens to Redis before the process exits.
    pub(crate) async fn close(&self) {
        for (_, limiter) in self.limiters() {
            limiter.close().await;
        }
    }
}

/// Returns the number of keys of a limit.
fn max_clients(of_limit: Option<usize>, settings: &Settings) -> usize {
    of_limit.unwrap_or(settings.max_clients.min(DEFAULT_MAX_CLIENTS))
}

impl NamedLimit {
    async fn new(
        kind: Kind,
        label: &str,
        (quota, max_clients): (Quota, usize),
        (state, redis): (Option<&State>, Option<Redis>),
        clock: Clock,
    ) -> Result<NamedLimit, String> {
        let key = kind.key();
        let limiter = match (redis, state) {
            (None, Some(state)) => {
                let builder = KeyedLimiter::builder(quota).max_keys(max_clients);
                let file = StateFile {
                    state,
                    kind: kind.singular(),
                    label,
                };
                Limiter::in_file(builder, &file)?
            }
            (None, None) => {
                let builder = KeyedLimiter::builder(quota)
                    .clock(clock)
                    .max_keys(max_clients);
                Limiter::in_memory(builder)
                    .map_err(|error| format!("{key}: {label}: max_clients: {error}"))?
            }
            (Some(redis), _) => {
                let redis = Redis {
                    prefix: kind.prefix(&redis.prefix, label),
                    ..redis
                };
                let limiter = Limiter::in_redis(&redis, quota, max_clients, clock).await;
                limiter.map_err(|error| format!("{key}: {label}: redis: {error}"))?
            }
        };
        Ok(NamedLimit {
            quota,
            max_clients,
            key: Vec::new(),
            hash_tags: false,
            limiter: Arc::new(limiter),
        })
    }
}

impl Kind {
    /// Returns the key of the configuration.
    fn key(self) -> &'static str {
        match self {
            Kind::Routes => "routes",
            Kind::Limits => "limits",
        }
    }

    /// Returns the names of quotas that an administrator can set, with each quota of the file and the
    /// highest cost.
    fn costs(self, settings: &Settings) -> impl Iterator<Item = (&str, Quota, u32)> {
        let limits = match self {
            Kind::Routes => &[][..],
            Kind::Limits => &settings.limits.list,
        };
        limits.iter().flat_map(|limit| {
            let cost = limit.cost.highest();
            let quotas = limit.quotas.iter();
            quotas.map(move |(name, quota)| (name.as_str(), *quota, cost))
        })
    }

    fn wanted(self, settings: &Settings) -> Vec<Wanted> {
        let of_route = |route: &Route| {
            let RouteQuota { quota, max_clients } = route.own_quota?;
            Some(Wanted {
                label: route.label(),
                quota,
                max_clients,
                key: Vec::new(),
                hash_tags: false,
            })
        };
        let of_limit = |limit: &Limit| {
            let (max_clients, key) = (limit.max_clients, limit.key.clone());
            let hash_tags = limit.quotas.len() > 1 || limit.ban.is_some();
            let quotas = limit.quotas.clone().into_iter();
            quotas.map(move |(label, quota)| Wanted {
                label,
                quota,
                max_clients,
                key: key.clone(),
                hash_tags,
            })
        };
        match self {
            Kind::Routes => settings.routes.iter().filter_map(of_route).collect(),
            Kind::Limits => settings.limits.list.iter().flat_map(of_limit).collect(),
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Kind::Routes => "route",
            Kind::Limits => "limit",
        }
    }

    /// Returns the prefix of a limit's keys in Redis. Colons in the label are encoded, because a
    /// colon ends the prefix.
    fn prefix(self, common: &str, label: &str) -> String {
        let kind = self.singular();
        let label = label.replace('%', "%25").replace(':', "%3A");
        format!("{common}:{kind}:{label}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_routes_are_distinct() {
        assert_eq!(
            Kind::Routes.prefix("tollgate", "POST /api/upload"),
            "tollgate:route:POST /api/upload"
        );
        let prefix = |label| Kind::Routes.prefix("tollgate", label);
        assert_eq!(prefix("/a:0"), "tollgate:route:/a%3A0");
        assert_ne!(prefix("/a:0"), prefix("/a%3A0"));
        assert_eq!(
            Kind::Limits.prefix("tollgate", "burst"),
            "tollgate:limit:burst"
        );
    }
}
