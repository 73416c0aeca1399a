//! Limits of routes' own: for each such route, a table in memory or a prefix in Redis, beside that
//! of the default.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::JoinSet;
use tollgate::{KeyedLimiter, KeyedStats, Quota, RedisStats};

use super::{Limits, Shown};
use crate::config::{Own, Redis, Settings};

/// What a route tells apart unless the file says otherwise, or the server itself has room for
/// fewer: with many routes, tables as large as the default's would be a lot of memory, and `GET
/// /metrics` looks at every slot of each.
const MAX_CLIENTS: usize = 100_000;

/// By the routes' labels.
#[derive(Default)]
pub(crate) struct OfRoutes(BTreeMap<String, OfRoute>);

#[derive(Clone)]
struct OfRoute {
    quota: Quota,
    max_clients: usize,
    limits: Arc<Limits>,
}

impl OfRoutes {
    /// Those that the settings ask for. Where nothing has changed, they are the ones from before,
    /// with all their buckets.
    pub(crate) async fn new(settings: &Settings, before: &OfRoutes) -> Result<OfRoutes, String> {
        let (mut kept, mut made) = (BTreeMap::new(), JoinSet::new());
        for route in &settings.routes {
            let Some(Own { quota, max_clients }) = route.own else {
                continue;
            };
            let (label, max_clients) = (
                route.label(),
                max_clients.unwrap_or(settings.max_clients.min(MAX_CLIENTS)),
            );
            match before.0.get(&label) {
                Some(same) if (same.quota, same.max_clients) == (quota, max_clients) => {
                    kept.insert(label, same.clone());
                }
                _ => {
                    // All at once: a Redis that cannot be reached takes its time to say so.
                    made.spawn(OfRoute::new(
                        label,
                        quota,
                        max_clients,
                        settings.redis.clone(),
                    ));
                }
            }
        }
        while let Some(made) = made.join_next().await {
            let (label, route) = made.map_err(|error| format!("routes: {error}"))??;
            kept.insert(label, route);
        }
        Ok(OfRoutes(kept))
    }

    pub(crate) fn get(&self, label: &str) -> Option<Arc<Limits>> {
        self.0.get(label).map(|route| Arc::clone(&route.limits))
    }

    /// The quotas that are in force.
    pub(crate) fn in_force(&self) -> BTreeMap<String, Shown> {
        self.each()
            .map(|(label, limits)| (label.to_owned(), limits.quota().into()))
            .collect()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, KeyedStats)> {
        self.each()
            .filter_map(|(label, limits)| Some((label, limits.table()?)))
    }

    pub(crate) fn redis(&self) -> impl Iterator<Item = (&str, RedisStats)> {
        self.each()
            .filter_map(|(label, limits)| Some((label, limits.redis()?)))
    }

    pub(crate) async fn close(&self) {
        for (_, limits) in self.each() {
            limits.close().await;
        }
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Limits)> {
        self.0
            .iter()
            .map(|(label, route)| (label.as_str(), &*route.limits))
    }
}

impl OfRoute {
    async fn new(
        label: String,
        quota: Quota,
        max_clients: usize,
        redis: Option<Redis>,
    ) -> Result<(String, OfRoute), String> {
        let limits = match redis {
            None => {
                let builder = KeyedLimiter::builder(quota).max_keys(max_clients);
                Limits::in_memory(builder)
                    .map_err(|error| format!("routes: {label}: max_clients: {error}"))?
            }
            Some(redis) => {
                let redis = Redis {
                    prefix: prefix(&redis.prefix, &label),
                    ..redis
                };
                let shared = Limits::shared(&redis, quota, max_clients).await;
                shared.map_err(|error| format!("routes: {label}: redis: {error}"))?
            }
        };
        Ok((
            label,
            OfRoute {
                quota,
                max_clients,
                limits: Arc::new(limits),
            },
        ))
    }
}

/// What the names of a route's keys in Redis begin with. A colon ends the label, so it has none.
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
    fn no_two_routes_share_a_prefix() {
        assert_eq!(
            prefix("tollgate", "POST /api/upload"),
            "tollgate:route:POST /api/upload"
        );
        assert_eq!(prefix("tollgate", "/a:0"), "tollgate:route:/a%3A0");
        assert_ne!(prefix("tollgate", "/a:0"), prefix("tollgate", "/a%3A0"));
    }
}
