//! Limits of routes: each route with a quota of its own has a separate limiter, with a table in
//! memory or a key prefix in Redis.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::JoinSet;
use tollgate::{Clock, KeyedLimiter, Quota, RedisStats};

use super::{config::QuotaView, limiter::Limiter};
use crate::config::{Redis, RouteQuota, Settings};

/// Default number of clients of a route, unless the server's own `max_clients` is lower. With many
/// routes, tables as large as the default limiter's would need much memory, and `GET /metrics`
/// visits every slot of each.
const DEFAULT_MAX_CLIENTS: usize = 100_000;

/// Limiters of routes, by label.
#[derive(Clone, Default)]
pub(crate) struct RouteLimits(BTreeMap<String, RouteLimit>);

#[derive(Clone)]
struct RouteLimit {
    quota: Quota,
    max_clients: usize,
    limiter: Arc<Limiter>,
}

impl RouteLimits {
    /// Creates the limiters of the settings. Limiters from `before` whose settings are unchanged
    /// are kept with their buckets.
    pub(crate) async fn new(
        settings: &Settings,
        before: &RouteLimits,
    ) -> Result<RouteLimits, String> {
        let (mut limits, mut tasks) = (BTreeMap::new(), JoinSet::new());
        for route in &settings.routes {
            let Some(RouteQuota { quota, max_clients }) = route.own_quota else {
                continue;
            };
            let (label, max_clients) = (
                route.label(),
                max_clients.unwrap_or(settings.max_clients.min(DEFAULT_MAX_CLIENTS)),
            );
            match before.0.get(&label) {
                Some(same) if (same.quota, same.max_clients) == (quota, max_clients) => {
                    limits.insert(label, same.clone());
                }
                _ => {
                    // Concurrently: connecting to an unreachable Redis waits for a timeout.
                    tasks.spawn(RouteLimit::new(
                        label,
                        quota,
                        max_clients,
                        settings.redis.clone(),
                    ));
                }
            }
        }
        while let Some(result) = tasks.join_next().await {
            let (label, limit) = result.map_err(|error| format!("routes: {error}"))??;
            limits.insert(label, limit);
        }
        Ok(RouteLimits(limits))
    }

    /// Returns the limiter of the route with this label, if it has its own.
    pub(crate) fn get(&self, label: &str) -> Option<Arc<Limiter>> {
        self.0.get(label).map(|limit| Arc::clone(&limit.limiter))
    }

    /// Returns the effective quotas by label.
    pub(crate) fn quotas(&self) -> BTreeMap<String, QuotaView> {
        self.limiters()
            .map(|(label, limiter)| (label.to_owned(), limiter.quota().into()))
            .collect()
    }

    /// Returns the limiters by label.
    pub(crate) fn limiters(&self) -> impl Iterator<Item = (&str, &Arc<Limiter>)> {
        self.0
            .iter()
            .map(|(label, limit)| (label.as_str(), &limit.limiter))
    }

    /// Returns the statistics of the limiters in Redis.
    pub(crate) fn redis_stats(&self) -> impl Iterator<Item = (&str, RedisStats)> {
        self.limiters()
            .filter_map(|(label, limiter)| Some((label, limiter.redis_stats()?)))
    }

    /// Returns leased tokens to Redis before the process exits.
    pub(crate) async fn close(&self) {
        for (_, limiter) in self.limiters() {
            limiter.close().await;
        }
    }
}

impl RouteLimit {
    async fn new(
        label: String,
        quota: Quota,
        max_clients: usize,
        redis: Option<Redis>,
    ) -> Result<(String, RouteLimit), String> {
        let limiter = match redis {
            None => {
                let builder = KeyedLimiter::builder(quota)
                    .clock(Clock::monotonic())
                    .max_keys(max_clients);
                Limiter::in_memory(builder)
                    .map_err(|error| format!("routes: {label}: max_clients: {error}"))?
            }
            Some(redis) => {
                let redis = Redis {
                    prefix: prefix(&redis.prefix, &label),
                    ..redis
                };
                let limiter = Limiter::in_redis(&redis, quota, max_clients).await;
                limiter.map_err(|error| format!("routes: {label}: redis: {error}"))?
            }
        };
        Ok((
            label,
            RouteLimit {
                quota,
                max_clients,
                limiter: Arc::new(limiter),
            },
        ))
    }
}

/// Returns the prefix of a route's keys in Redis. Colons in the label are encoded, because a colon
/// ends the prefix.
fn prefix(common: &str, label: &str) -> String {
    format!(
        "{common}:route:{}",
        label.replace('%', "%25").replace(':', "%3A")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_routes_are_distinct() {
        assert_eq!(
            prefix("tollgate", "POST /api/upload"),
            "tollgate:route:POST /api/upload"
        );
        assert_eq!(prefix("tollgate", "/a:0"), "tollgate:route:/a%3A0");
        assert_ne!(prefix("tollgate", "/a:0"), prefix("tollgate", "/a%3A0"));
    }
}
