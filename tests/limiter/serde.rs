//! Quotas in configuration files.

use std::time::Duration;

use tollgate::Quota;

fn json(text: &str) -> Result<Quota, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_quota_deserializes_from_text_or_a_table() {
    let ten_at_half = Quota::new(10, 1, Duration::from_secs(2)).unwrap();
    let hourly = Quota::interval(100, Duration::from_secs(3600));
    for (text, expected) in [
        (r#""0.5/s, capacity 10""#, ten_at_half),
        (r#"{"capacity": 10, "refill_rate": 0.5}"#, ten_at_half),
        (r#"{"capacity": 10, "refill-rate": 0.5}"#, ten_at_half),
        (
            r#"{"capacity": 10, "refill": {"tokens": 30, "every": "1min"}}"#,
            ten_at_half,
        ),
        (r#"{"capacity": 10, "refill": {"every": 20}}"#, ten_at_half),
        (
            r#"{"capacity": 100, "refill": {"every": "1h", "mode": "interval"}}"#,
            hourly,
        ),
        (r#"{"tokens": 100, "time": 3600}"#, hourly),
        (r#"{"tokens": 100, "time": 3600.0}"#, hourly),
    ] {
        assert_eq!(json(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_serialized_quota_deserializes_to_the_same() {
    for quota in [
        Quota::per_hour(100).with_capacity(20),
        Quota::interval(5, Duration::from_millis(1500)),
    ] {
        let text = serde_json::to_string(&quota).unwrap();
        assert_eq!(json(&text), Ok(quota), "{text}");
    }
}

#[test]
fn toml_deserializes_like_json() {
    #[derive(serde::Deserialize)]
    struct File {
        quota: Quota,
    }
    let file: File = toml::from_str(
        r#"quota = { capacity = 10, refill = { every = "1h 30min", mode = "interval" } }"#,
    )
    .unwrap();
    assert_eq!(file.quota, Quota::interval(10, Duration::from_secs(5400)));
}

#[test]
fn errors_state_the_expected_input() {
    for (text, expected) in [
        (r#"5"#, "expected a quota such as"),
        (r#""5""#, "expected '/' or 'per'"),
        (
            r#"{"capacity": 10}"#,
            "expected capacity and refill_rate, capacity and refill, or tokens and time",
        ),
        (
            r#"{"capacity": 10, "refill_rate": 1, "time": 3}"#,
            "expected capacity and refill_rate, capacity and refill, or tokens and time",
        ),
        (
            r#"{"capacity": 0, "refill_rate": 1}"#,
            "capacity: expected 1 to 4294967295, got 0",
        ),
        (
            r#"{"capacity": -1, "refill_rate": 1}"#,
            "integer `-1`, expected u32",
        ),
        (
            r#"{"capacity": 10, "refill_rate": 0}"#,
            "rate: expected 3.17e-10 (one per century) to 1000000000 tokens per second, got 0",
        ),
        (
            r#"{"capacity": 10, "refill_rat": 0}"#,
            "unknown field `refill_rat`",
        ),
        (
            r#"{"tokens": 10, "time": -5}"#,
            "integer `-5`, expected a duration",
        ),
        (
            r#"{"tokens": 10, "time": -0.5}"#,
            "floating point `-0.5`, expected a duration",
        ),
        (
            r#"{"tokens": 10, "time": 0}"#,
            "window: expected 1 µs to 36525 days (a century), got 0ns",
        ),
        (r#"{"tokens": 10, "time": "1h30"}"#, "expected a unit"),
        (
            r#"{"tokens": 10, "time": "1h!"}"#,
            "expected a count or the end at position 2",
        ),
        (
            r#"{"capacity": 10, "refill": {"tokens": 5, "every": "1h", "mode": "interval"}}"#,
            "refill.tokens: expected 10 (the capacity) in mode \"interval\", got 5",
        ),
        (
            r#"{"capacity": 10, "refill": {"every": "1h", "mode": "burst"}}"#,
            "expected `greedy` or `interval`",
        ),
    ] {
        let error = json(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
