//! Results of a load, as a table.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Results of a load.
pub(super) struct Report {
    pub(super) elapsed: Duration,
    pub(super) connections: usize,
    pub(super) allowed: u64,
    pub(super) refused: u64,
    /// Responses with a status other than 2xx and 429.
    pub(super) other: u64,
    /// Requests without a response.
    pub(super) failed: u64,
    /// In nanoseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Report {
    pub(super) fn responses(&self) -> u64 {
        self.allowed + self.refused + self.other
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let mut row = |name: &str, value: String| writeln!(f, "{name:<14}{value:>14}");
        row("connections", self.connections.to_string())?;
        row("seconds", format!("{seconds:.2}"))?;
        row("answers", self.responses().to_string())?;
        row(
            "requests/s",
            format!("{:.0}", self.responses() as f64 / seconds),
        )?;
        row("allowed", self.allowed.to_string())?;
        row("refused", self.refused.to_string())?;
        row("other", self.other.to_string())?;
        row("failed", self.failed.to_string())?;
        for (name, quantile) in PERCENTILES {
            row(
                &format!("latency {name}"),
                millis(self.latencies.value_at_quantile(quantile)),
            )?;
        }
        row("latency max", millis(self.latencies.max()))
    }
}

fn millis(nanos: u64) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_value() {
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        (1..=1000).for_each(|micros| latencies.record(micros * 1000).unwrap());
        let report = Report {
            elapsed: Duration::from_secs(2),
            connections: 4,
            allowed: 50,
            refused: 948,
            other: 1,
            failed: 1,
            latencies,
        };
        let text = report.to_string();
        for (name, value) in [
            ("requests/s", "500"),
            ("allowed", "50"),
            ("refused", "948"),
            ("latency max", "1.000"),
        ] {
            let row = text.lines().find(|row| row.starts_with(name)).unwrap();
            assert_eq!(
                row.split_whitespace()
                    .find(|word| word.starts_with(char::is_numeric)),
                Some(value),
                "{row}"
            );
        }
        let p99 = text
            .lines()
            .find(|row| row.starts_with("latency p99 "))
            .unwrap();
        assert!(p99.contains("0.99"), "{p99}");
    }
}
