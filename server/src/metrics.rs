//! Metrics: their names and values, encoded in the OpenMetrics text format, which Prometheus reads.
//!
//! Labels are names from the configuration and fixed names, never values that a client chose. Their
//! number is therefore bounded, and they identify no client.

mod counters;
mod credentials;
mod latency;
mod process;

use std::{fmt, sync::atomic::Ordering};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tollgate::{KeyedStats, RedisStats};

pub(crate) use self::{
    counters::{Reason, RouteCounters},
    credentials::Credential,
    process::Metrics,
};

/// Values of all metrics at one moment.
pub(crate) struct Snapshot {
    routes: Vec<(String, counters::Totals)>,
    /// By name and mode.
    limits: Vec<((String, &'static str), counters::Totals)>,
    delayed: u64,
    latency: latency::Totals,
    credentials: credentials::Totals,
    accepted: u64,
    open: u64,
    evicted: u64,
    refused: u64,
    client_share: [(&'static str, u64); 2],
    tables: PerRoute<KeyedStats>,
    redis: PerRoute<RedisStats>,
}

/// Statistics of the default limits (`None`), of the routes that have limits of their own, and of
/// named limits: by the name of the label, and its value.
pub(crate) type PerRoute<T> = Vec<(Option<(&'static str, String)>, T)>;

impl Snapshot {
    /// Reads all counters. `tables` and `redis` are the statistics of the limiters.
    pub(crate) fn new(
        metrics: &Metrics,
        tables: PerRoute<KeyedStats>,
        redis: PerRoute<RedisStats>,
    ) -> Snapshot {
        let routes = metrics
            .lock()
            .iter()
            .map(|(label, counters)| (label.clone(), counters.totals()))
            .collect();
        // `ended` is read first, so that it never exceeds `accepted`.
        let ended = metrics.connections.ended.load(Ordering::Acquire);
        let accepted = metrics.connections.accepted.load(Ordering::Acquire);
        Snapshot {
            routes,
            limits: metrics.limit_totals(),
            delayed: metrics.delayed(),
            latency: metrics.latency.totals(),
            credentials: metrics.credentials.totals(),
            accepted,
            open: accepted - ended.min(accepted),
            evicted: metrics.connections.evicted.load(Ordering::Relaxed),
            refused: metrics.connections.refused.load(Ordering::Relaxed),
            client_share: metrics.client_share.totals(),
            tables,
            redis,
        }
    }

    /// Encodes the metrics as text.
    pub(crate) fn encode(self) -> String {
        let (mut registry, mut text) = (Registry::with_prefix("tollgate"), String::new());
        registry.register_collector(Box::new(self));
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    fn routes(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Decisions by route and reason";
        let mut family = to.encode_descriptor("decisions", help, None, MetricType::Counter)?;
        for (route, totals) in &self.routes {
            for (reason, total) in Reason::ALL
                .into_iter()
                .zip(*totals)
                .filter(|(_, total)| *total > 0)
            {
                let decision = if reason.is_allowed() {
                    "allowed"
                } else {
                    "refused"
                };
                let labels = [
                    ("route", route.as_str()),
                    ("decision", decision),
                    ("reason", reason.name()),
                ];
                ConstCounter::new(total).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn limits(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.limits.is_empty() {
            return Ok(());
        }
        let help =
            "Decisions by limit and reason; of a refused request those of the limits that refuse";
        let mut family =
            to.encode_descriptor("limit_decisions", help, None, MetricType::Counter)?;
        for ((limit, mode), totals) in &self.limits {
            let reasons = Reason::ALL.into_iter().zip(*totals);
            for (reason, total) in reasons.filter(|(_, total)| *total > 0) {
                let decision = match reason {
                    Reason::NoKey => "missing_key",
                    reason if reason.is_allowed() => "allowed",
                    _ => "refused",
                };
                let labels = [
                    ("limit", limit.as_str()),
                    ("mode", mode),
                    ("decision", decision),
                    ("reason", reason.name()),
                ];
                ConstCounter::new(total).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn latency(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Latency of decisions: all decisions in Redis, and a sample of those in memory";
        let mut histogram =
            to.encode_descriptor("decision_seconds", help, None, MetricType::Histogram)?;
        let latency::Totals { buckets, seconds } = &self.latency;
        let count = buckets.iter().map(|(_, count)| count).sum();
        histogram.encode_histogram::<[(&str, &str); 0]>(*seconds, count, buckets, None)
    }

    fn credentials(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Wrong tokens and unknown API keys; limited: refused with 429";
        let mut family =
            to.encode_descriptor("credential_failures", help, None, MetricType::Counter)?;
        for ([credential, outcome], total) in &self.credentials {
            let labels = [("credential", *credential), ("outcome", *outcome)];
            ConstCounter::new(*total).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn client_share(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests and tunnels refused with 429 because their client held its share";
        let mut family =
            to.encode_descriptor("client_share_refusals", help, None, MetricType::Counter)?;
        for (kind, total) in self.client_share {
            ConstCounter::new(total).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }

    fn tables(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tables = &self.tables;
        per_route(
            to,
            (
                "table_live",
                "Clients whose bucket is not full",
                MetricType::Gauge,
            ),
            tables,
            |stats| stats.live as u64,
        )?;
        per_route(
            to,
            (
                "table_slots",
                "Maximum number of buckets",
                MetricType::Gauge,
            ),
            tables,
            |stats| stats.slots as u64,
        )?;
        per_route(
            to,
            (
                "table_bytes",
                "Memory used by the buckets, in bytes",
                MetricType::Gauge,
            ),
            tables,
            |stats| stats.bytes as u64,
        )?;
        let help = "Clients evicted before their bucket was full, since the limit last changed";
        per_route(
            to,
            ("table_evicted_early", help, MetricType::Counter),
            tables,
            |stats| stats.evicted_early,
        )?;
        let help = "Requests refused because the table was full, since the limit last changed";
        per_route(
            to,
            ("table_saturated", help, MetricType::Counter),
            tables,
            |stats| stats.saturated,
        )
    }

    fn redis(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let redis = &self.redis;
        per_route(
            to,
            (
                "redis_up",
                "1 while Redis is available, 0 while on-redis-error decides",
                MetricType::Gauge,
            ),
            redis,
            |stats| stats.up.into(),
        )?;
        per_route(
            to,
            (
                "redis_decisions",
                "Decisions made by Redis",
                MetricType::Counter,
            ),
            redis,
            |stats| stats.redis,
        )?;
        per_route(
            to,
            (
                "redis_lease_decisions",
                "Decisions made from leased tokens or a remembered refusal",
                MetricType::Counter,
            ),
            redis,
            |stats| stats.lease,
        )?;
        per_route(
            to,
            (
                "redis_fallback_decisions",
                "Decisions made by the fallback without Redis",
                MetricType::Counter,
            ),
            redis,
            |stats| stats.fallback,
        )?;
        let help = "Requests to Redis that failed";
        per_route(
            to,
            ("redis_failures", help, MetricType::Counter),
            redis,
            |stats| stats.failures,
        )?;
        per_route(
            to,
            (
                "redis_outages",
                "Number of Redis outages",
                MetricType::Counter,
            ),
            redis,
            |stats| stats.outages,
        )?;
        let help = "Buckets rebased to the clock of Redis after it stepped back";
        per_route(
            to,
            ("redis_rebased", help, MetricType::Counter),
            redis,
            |stats| stats.rebased,
        )
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.routes(to)?;
        self.limits(to)?;
        counter(
            to,
            "delayed_requests",
            "Requests that waited for their tokens",
            self.delayed,
        )?;
        self.latency(to)?;
        self.credentials(to)?;
        gauge(to, "connections_open", "Open connections", self.open)?;
        counter(
            to,
            "connections_accepted",
            "Accepted connections",
            self.accepted,
        )?;
        let help = "Idle connections closed in favour of new ones";
        counter(to, "connections_evicted", help, self.evicted)?;
        let help = "Connections closed because their address had its maximum";
        counter(to, "connections_refused", help, self.refused)?;
        self.client_share(to)?;
        self.tables(to)?;
        self.redis(to)
    }
}

/// Required by [`Collector`].
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Encodes a metric of the default limits and of routes; nothing if there are none.
fn per_route<T>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    stats: &PerRoute<T>,
    value: impl Fn(&T) -> u64,
) -> fmt::Result {
    if stats.is_empty() {
        return Ok(());
    }
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for (label, stats) in stats {
        let value = value(stats);
        match label {
            None => encode(&mut family, kind, value)?,
            Some((key, label)) => {
                let labels = [(*key, label.as_str())];
                encode(&mut family.encode_family(&labels)?, kind, value)?;
            }
        }
    }
    Ok(())
}

fn encode(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Gauge => encoder.encode_gauge(&value),
        _ => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
    }
}
