//! The counts as text, in the format of OpenMetrics, which Prometheus reads.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tollgate::{KeyedStats, RedisStats};

use super::{
    counts::{self, Reason},
    latency,
};

/// All there is to tell, at one moment.
pub(super) struct Snapshot {
    pub(super) routes: Vec<(String, counts::Sums)>,
    pub(super) latency: latency::Sums,
    pub(super) accepted: u64,
    pub(super) open: u64,
    pub(super) tables: OfEach<KeyedStats>,
    pub(super) redis: OfEach<RedisStats>,
}

/// Of the default limits, and by label of the routes that have some of their own.
pub(super) type OfEach<T> = Vec<(Option<String>, T)>;

impl Snapshot {
    pub(super) fn encode(self) -> String {
        let (mut registry, mut text) = (Registry::with_prefix("tollgate"), String::new());
        registry.register_collector(Box::new(self));
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    fn routes(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Decisions, by route, and why";
        let mut family = to.encode_descriptor("decisions", help, None, MetricType::Counter)?;
        for (route, sums) in &self.routes {
            for (reason, sum) in Reason::ALL
                .into_iter()
                .zip(*sums)
                .filter(|(_, sum)| *sum > 0)
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
                ConstCounter::new(sum).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn latency(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time that a decision took: all that Redis is asked for, and a sample of those in memory";
        let mut histogram =
            to.encode_descriptor("decision_seconds", help, None, MetricType::Histogram)?;
        let latency::Sums { buckets, seconds } = &self.latency;
        let count = buckets.iter().map(|(_, count)| count).sum();
        histogram.encode_histogram::<[(&str, &str); 0]>(*seconds, count, buckets, None)
    }

    fn tables(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tables = &self.tables;
        gauges(
            to,
            "table_live",
            "Clients whose bucket is not full",
            tables,
            |stats| stats.live as u64,
        )?;
        gauges(
            to,
            "table_slots",
            "Buckets there is room for",
            tables,
            |stats| stats.slots as u64,
        )?;
        gauges(
            to,
            "table_bytes",
            "Memory of the buckets",
            tables,
            |stats| stats.bytes as u64,
        )?;
        let help = "Clients forgotten before their bucket was full, since the limit last changed";
        counters(to, "table_evicted_early", help, tables, |stats| {
            stats.evicted_early
        })?;
        let help = "Requests refused since there was no room for their client, since the limit last changed";
        counters(to, "table_saturated", help, tables, |stats| stats.saturated)
    }

    fn redis(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let redis = &self.redis;
        gauges(
            to,
            "redis_up",
            "1 while Redis is asked, 0 while on-redis-error decides",
            redis,
            |stats| stats.up.into(),
        )?;
        counters(
            to,
            "redis_decisions",
            "Decisions that Redis made",
            redis,
            |stats| stats.redis,
        )?;
        counters(
            to,
            "redis_lease_decisions",
            "Decisions made from tokens on lease",
            redis,
            |stats| stats.lease,
        )?;
        counters(
            to,
            "redis_fallback_decisions",
            "Decisions made without Redis",
            redis,
            |stats| stats.fallback,
        )?;
        let help = "Requests that Redis did not answer as it should";
        counters(to, "redis_failures", help, redis, |stats| stats.failures)?;
        counters(
            to,
            "redis_outages",
            "How often Redis went away",
            redis,
            |stats| stats.outages,
        )
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.routes(to)?;
        self.latency(to)?;
        gauge(to, "connections_open", "Connections there are", self.open)?;
        counter(
            to,
            "connections_accepted",
            "Connections there were",
            self.accepted,
        )?;
        self.tables(to)?;
        self.redis(to)
    }
}

/// A registry wants its collectors to have one.
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

fn gauges<T>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: &OfEach<T>,
    value: impl Fn(&T) -> u64,
) -> fmt::Result {
    each(to, (name, help, MetricType::Gauge), of, |encoder, stats| {
        encoder.encode_gauge(&value(stats))
    })
}

fn counters<T>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: &OfEach<T>,
    value: impl Fn(&T) -> u64,
) -> fmt::Result {
    each(
        to,
        (name, help, MetricType::Counter),
        of,
        |encoder, stats| encoder.encode_counter::<NoLabelSet, _, u64>(&value(stats), None),
    )
}

/// Nothing at all when there are none.
fn each<T>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    of: &OfEach<T>,
    encode: impl Fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if of.is_empty() {
        return Ok(());
    }
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for (label, stats) in of {
        match label {
            None => encode(&mut family, stats)?,
            Some(label) => encode(
                &mut family.encode_family(&[("route", label.as_str())])?,
                stats,
            )?,
        }
    }
    Ok(())
}
