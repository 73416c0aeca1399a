use std::time::Duration;

use super::{Quota, QuotaError};

const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

#[test]
fn display_output_parses_to_the_same_quota() {
    let quotas = [
        Quota::per_second(5),
        Quota::per_hour(100).with_capacity(20),
        Quota::new(7, 3, Duration::from_millis(1500)).unwrap(),
        Quota::new(1, 1, CENTURY).unwrap(),
        Quota::new(u32::MAX, 1_000_000_000, Duration::from_secs(1)).unwrap(),
        Quota::interval(100, Duration::from_secs(3600)),
        Quota::interval(3, Duration::from_secs(7200)),
        Quota::per_day(1),
    ];
    for quota in quotas {
        assert_eq!(quota.to_string().parse(), Ok(quota), "{quota}");
    }
}

#[test]
fn equivalent_texts_parse_to_equal_quotas() {
    let same = [
        "1/2s",
        "0.5/s",
        "0.50 per second",
        "30 per minute, capacity 1",
        "1800/h,capacity 1",
        " 1 / 2000ms ",
    ];
    for text in same {
        assert_eq!(
            text.parse(),
            Quota::new(1, 1, Duration::from_secs(2)),
            "{text}"
        );
    }
    assert_eq!(
        "100 per hour, all at once".parse(),
        Quota::try_interval(100, Duration::from_secs(3600))
    );
}

#[test]
fn texts_of_other_limiters_parse() {
    let day = Duration::from_secs(86_400);
    let per = |tokens, period| Quota::new(tokens, tokens.into(), period).unwrap();
    let same = [
        // nginx: limit_req_zone, limit_req.
        ("10r/s", Quota::per_second(10)),
        ("30r/m", Quota::per_minute(30)),
        ("10r/s burst=20", Quota::per_second(10).with_capacity(20)),
        // flask-limiter.
        ("10 per hour", Quota::per_hour(10)),
        ("10/hr", Quota::per_hour(10)),
        ("10 / 2 hrs", per(10, Duration::from_secs(7200))),
        ("1/5minutes", per(1, Duration::from_secs(300))),
        ("5/15mins", per(5, Duration::from_secs(900))),
        ("100 per 1 day", Quota::per_day(100)),
        ("1000/week", per(1000, day * 7)),
        ("5 per 2 weeks", per(5, day * 14)),
        ("1000/month", per(1000, day * 30)),
        ("1000/3 months", per(1000, day * 90)),
        ("1/year", per(1, day * 365)),
        // Traefik: average, period, burst.
        ("100/1m, burst 50", Quota::per_minute(100).with_capacity(50)),
        // governor: per_second(50), allow_burst(100).
        (
            "50 per second, burst 100",
            Quota::per_second(50).with_capacity(100),
        ),
        // bucket4j: capacity(100), refillGreedy(10, 1 minute), refillIntervally(10, 1 hour).
        (
            "10 tokens per 1 minute, capacity 100",
            Quota::per_minute(10).with_capacity(100),
        ),
        (
            "10 tokens per 1 hour, all at once",
            Quota::interval(10, Duration::from_secs(3600)),
        ),
        ("10 requests/sec", Quota::per_second(10)),
        ("10req/secs", Quota::per_second(10)),
        // Any case.
        ("10R/S", Quota::per_second(10)),
        (
            "10 PER Minute, Burst 5",
            Quota::per_minute(10).with_capacity(5),
        ),
        (
            "3 Per Hour, All At Once",
            Quota::interval(3, Duration::from_secs(3600)),
        ),
        // Bytes.
        ("10MB/s", Quota::per_second(10_000_000)),
        ("10 mb per second", Quota::per_second(10_000_000)),
        (
            "1.5MB/s, burst 2MiB",
            Quota::per_second(1_500_000).with_capacity(2 << 20),
        ),
        ("64KiB/s", Quota::per_second(64 << 10)),
        ("500 bytes/min", Quota::per_minute(500)),
        (
            "1.5kB per hour all at once",
            Quota::interval(1500, Duration::from_secs(3600)),
        ),
        ("1GB/s", Quota::per_second(1_000_000_000)),
    ];
    for (text, quota) in same {
        assert_eq!(text.parse(), Ok(quota), "{text}");
        let formatted = quota.to_string();
        assert_eq!(formatted.parse(), Ok(quota), "{text}: {formatted}");
    }
}

#[test]
fn syntax_errors_state_position_and_expectation() {
    let cases = [
        (
            "",
            "expected a positive number of at most 18 digits at position 0",
        ),
        ("x", "expected a positive number"),
        ("5", "expected '/' or 'per' at position 1"),
        (
            "5/fortnight",
            "expected a unit (ns, us, ms, s, min, h, d, week, month, year) at position 2",
        ),
        (
            "5/s, bursts",
            "expected a whole number in range at position 10",
        ),
        (
            "5/s nodelay",
            "expected 'capacity N' (or 'burst N') or 'all at once', each once at position 4",
        ),
        ("5/s, capacity 1, burst 2", "each once"),
        ("5rps", "expected '/' or 'per' at position 1"),
        ("5MB", "expected '/' or 'per' at position 3"),
        (
            "5/s, capacity 5GB",
            "expected a whole number in range at position 14",
        ),
        ("99999999999GB/s", "at most 18446744073709551615 tokens"),
        ("5GB/s", "a capacity, since the default"),
        ("5GB/s, burst 1GB", "rate: expected at most 1000000000"),
        ("5/weeks2", "expected ',' or the end"),
        (
            "5/s, capacity 4294967296",
            "expected a whole number in range at position 14",
        ),
        ("5/s, capacity 1, capacity 2", "each once"),
        ("5/s!", "expected ',' or the end at position 3"),
        ("0/s", "tokens: expected at least 1 per period, got 0"),
        (
            "5/s, capacity 0",
            "capacity: expected 1 to 4294967295, got 0",
        ),
        (
            "5/99999d",
            "period: expected 1 ns to 36525 days (a century), got 8639913600s",
        ),
        (
            "2000000000/s",
            "rate: expected at most 1000000000 tokens per second, got 2000000000 per 1s",
        ),
        ("1.5 per hour, all at once", "a whole number of tokens"),
        ("0.3333333333333333/d", "fewer decimals"),
        ("99999999999999999999/s", "at most 18 digits"),
        (
            "5/18446744073709551615d",
            "period: expected 1 ns to 36525 days (a century), got ",
        ),
        (
            "0.00000000000000001/18446744073709551615d",
            "fewer decimals",
        ),
        ("ü/s", "position 0"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Quota>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn from_rate_finds_the_simplest_ratio() {
    let quota = |tokens, seconds| Quota::new(3, tokens, Duration::from_secs(seconds));
    assert_eq!(Quota::from_rate(3, 0.1), quota(1, 10));
    assert_eq!(Quota::from_rate(3, 10.0), quota(10, 1));
    assert_eq!(Quota::from_rate(3, 1.0 / 3.0), quota(1, 3));
    assert_eq!(Quota::from_rate(3, 123.456), quota(123_456, 1000));
    assert_eq!(Quota::from_rate(3, 1e9), quota(1_000_000_000, 1));
    assert_eq!(
        Quota::from_rate(3, 1.0 / CENTURY.as_secs_f64()),
        quota(1, CENTURY.as_secs())
    );
    for digits in [
        1.000_000_000_001,
        0.002_704_989_778_034_844_5,
        0.000_123_456_789_012_345,
        3.2e-10,
        999_999_999.999_999_9,
    ] {
        assert_eq!(
            Quota::from_rate(3, digits).unwrap().tokens_per_second(),
            digits
        );
    }
    for bad in [
        0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        -f64::INFINITY,
        1.1e9,
        1e-10,
        5e-324,
        f64::MAX,
    ] {
        assert!(
            matches!(Quota::from_rate(3, bad), Err(QuotaError::Rate(_))),
            "{bad}"
        );
    }
    assert_eq!(Quota::from_rate(0, 1.0), Err(QuotaError::ZeroCapacity));
}

#[test]
fn quotas_with_equal_rates_are_equal() {
    assert_eq!(
        Quota::per_minute(60).with_capacity(5),
        Quota::per_second(1).with_capacity(5)
    );
    assert_ne!(
        Quota::per_second(5),
        Quota::interval(5, Duration::from_secs(1))
    );
}

#[test]
fn values_out_of_range_are_errors() {
    let second = Duration::from_secs(1);
    assert_eq!(Quota::new(0, 1, second), Err(QuotaError::ZeroCapacity));
    assert_eq!(Quota::new(1, 0, second), Err(QuotaError::ZeroTokens));
    assert_eq!(
        Quota::new(1, 1, Duration::ZERO),
        Err(QuotaError::Period(Duration::ZERO))
    );
    assert!(matches!(
        Quota::new(1, 1, CENTURY + Duration::from_nanos(1)),
        Err(QuotaError::Period(_))
    ));
    assert!(matches!(
        Quota::new(1, 1, Duration::MAX),
        Err(QuotaError::Period(_))
    ));
    assert!(matches!(
        Quota::new(1, 1_000_000_001, second),
        Err(QuotaError::TooFast { .. })
    ));
    assert!(matches!(
        Quota::try_interval(1, Duration::from_nanos(999)),
        Err(QuotaError::Window(_))
    ));
    assert!(matches!(
        Quota::per_second(10).try_with_capacity(0),
        Err(QuotaError::ZeroCapacity)
    ));
}
