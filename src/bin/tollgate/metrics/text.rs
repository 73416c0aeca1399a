//! The counts as text, in the format of OpenMetrics, which Prometheus reads.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tollgate::{RedisStats, Stats};

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
    pub(super) table: Option<Stats>,
    pub(super) redis: Option<RedisStats>,
}

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
            for (reason, sum) in Reason::ALL.into_iter().zip(*sums).filter(|(_, sum)| *sum > 0) {
                let decision = if reason.is_allowed() { "allowed" } else { "refused" };
                let labels = [("route", route.as_str()), ("decision", decision), ("reason", reason.name())];
                ConstCounter::new(sum).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn latency(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time that a decision took: all that Redis is asked for, and a sample of those in memory";
        let mut histogram = to.encode_descriptor("decision_seconds", help, None, MetricType::Histogram)?;
        let latency::Sums { buckets, seconds } = &self.latency;
        let count = buckets.iter().map(|(_, count)| count).sum();
        histogram.encode_histogram::<[(&str, &str); 0]>(*seconds, count, buckets, None)
    }

    fn table(&self, to: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        gauge(to, "table_live", "Clients whose bucket is not full", stats.live as u64)?;
        gauge(to, "table_slots", "Buckets there is room for", stats.slots as u64)?;
        gauge(to, "table_bytes", "Memory of the buckets", stats.bytes as u64)?;
        let help = "Clients forgotten before their bucket was full, since the default limit changed";
        counter(to, "table_evicted_early", help, stats.evicted_early)?;
        let help = "Requests refused since there was no room for their client, since the default limit changed";
        counter(to, "table_saturated", help, stats.saturated)
    }

    fn redis(&self, to: &mut DescriptorEncoder<'_>, stats: &RedisStats) -> fmt::Result {
        gauge(to, "redis_up", "1 while Redis is asked, 0 while on-redis-error decides", stats.up.into())?;
        counter(to, "redis_decisions", "Decisions that Redis made", stats.redis)?;
        counter(to, "redis_lease_decisions", "Decisions made from tokens on lease", stats.lease)?;
        counter(to, "redis_fallback_decisions", "Decisions made without Redis", stats.fallback)?;
        counter(to, "redis_failures", "Requests that Redis did not answer as it should", stats.failures)?;
        counter(to, "redis_outages", "How often Redis went away", stats.outages)
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.routes(to)?;
        self.latency(to)?;
        gauge(to, "connections_open", "Connections there are", self.open)?;
        counter(to, "connections_accepted", "Connections there were", self.accepted)?;
        self.table.iter().try_for_each(|stats| self.table(to, stats))?;
        self.redis.iter().try_for_each(|stats| self.redis(to, stats))
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
