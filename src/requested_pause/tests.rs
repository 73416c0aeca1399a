use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::pause_at;

/// Returns the pause in milliseconds that these headers ask for at 1,700,000,000 s.
fn pause(fields: &[(&str, &str)]) -> Option<u128> {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        let name = HeaderName::try_from(name).unwrap();
        headers.append(name, HeaderValue::try_from(value).unwrap());
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    pause_at(&headers, now).map(|pause| pause.as_millis())
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    assert_eq!(pause(&[("retry-after", "120")]), Some(120_000));
    assert_eq!(pause(&[("retry-after", " 120 ")]), Some(120_000));
    assert_eq!(pause(&[("retry-after", "0")]), None);
    let date = "Tue, 14 Nov 2023 22:14:20 GMT";
    assert_eq!(pause(&[("retry-after", date)]), Some(60_000));
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    assert_eq!(pause(&[("retry-after", past)]), None);
}

/// *Caught:* dates that are compared with the client's own clock.
#[test]
fn dates_are_relative_to_the_date_of_the_response() {
    let fields = [
        ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"),
    ];
    assert_eq!(pause(&fields), Some(30_000));
}

/// Headers as GitHub, Reddit, Discord and the IETF's drafts have them.
///
/// *Caught:* a reset that counts though requests remain.
#[test]
fn a_reset_counts_when_nothing_remains() {
    let github = |remaining| {
        pause(&[
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", remaining),
            ("x-ratelimit-reset", "1700000090"),
        ])
    };
    assert_eq!(github("0"), Some(90_000));
    assert_eq!(github("1"), None);
    assert_eq!(
        pause(&[
            ("x-ratelimit-remaining", "0.0"),
            ("x-ratelimit-reset", "301")
        ]),
        Some(301_000)
    );
    assert_eq!(
        pause(&[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000000.470")
        ]),
        Some(470)
    );
    assert_eq!(
        pause(&[
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", "1700000012345")
        ]),
        Some(12_345)
    );
    assert_eq!(
        pause(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "7")]),
        Some(7_000)
    );
    assert_eq!(pause(&[("x-ratelimit-reset", "301")]), None);
}

#[test]
fn the_ratelimit_field_is_read_in_both_forms() {
    assert_eq!(
        pause(&[(
            "ratelimit",
            r#""burst";r=0;t=3, "hourly";r=0;t=70, "daily";r=9;t=900"#
        )]),
        Some(70_000)
    );
    assert_eq!(
        pause(&[("ratelimit", "limit=100, remaining=0, reset=30")]),
        Some(30_000)
    );
    assert_eq!(
        pause(&[("ratelimit", "limit=100, remaining=5, reset=30")]),
        None
    );
}

#[test]
fn the_longest_pause_counts_and_a_day_at_most() {
    let fields = [
        ("retry-after", "5"),
        ("retry-after", "9"),
        ("ratelimit", r#""default";r=0;t=7"#),
    ];
    assert_eq!(pause(&fields), Some(9_000));
    let day = Some(86_400_000);
    assert_eq!(pause(&[("retry-after", "99999999")]), day);
    assert_eq!(pause(&[("retry-after", &"9".repeat(400))]), day);
    let year_9999 = "Fri, 31 Dec 9999 23:59:59 GMT";
    assert_eq!(pause(&[("retry-after", year_9999)]), day);
}

#[test]
fn malformed_headers_are_ignored() {
    for value in [
        "", "soon", "-1", "1e9", "+5", ".", "1.2.3", "NaN", "inf", "12 s", "Tue, 99",
    ] {
        assert_eq!(pause(&[("retry-after", value)]), None, "{value}");
        let fields = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", value)];
        assert_eq!(pause(&fields), None, "{value}");
        assert_eq!(pause(&[("ratelimit", value)]), None, "{value}");
    }
    for value in [
        r#""a";r=0"#,
        r#""a";r=0;t=-5"#,
        r#"("a");r=0;t=5"#,
        r#""a";r;t=1"#,
    ] {
        assert_eq!(pause(&[("ratelimit", value)]), None, "{value}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_bytes(b"\xff5").unwrap());
    assert_eq!(pause_at(&headers, UNIX_EPOCH), None);
}
