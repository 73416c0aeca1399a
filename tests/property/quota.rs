//! Quotas as text and as decimal numbers: the printed text parses back to the same quota, a rate is
//! as near to its number as an `f64` can express, and no input makes the library panic.
//!
//! Mutations that these tests caught: a period longer by a nanosecond
//! for decimals; a search for the ratio of a rate among short periods only. Bugs in earlier
//! versions that they found: numbers of nineteen digits were printed and did not parse;
//! 0.0027049897780348445 became another rate.

use std::{str::FromStr, time::Duration};

use crate::reference::{integer, nanos, rate, ratio, strategies};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, Signed};
use proptest::prelude::*;
use tollgate::{Bucket, Quota};

const CENTURY_IN_SECONDS: u64 = strategies::CENTURY / 1_000_000_000;

/// Returns the exact value of the number: a mantissa times a power of two.
fn exact(number: f64) -> BigRational {
    BigRational::from_float(number).unwrap()
}

fn text_of_parts() -> impl Strategy<Value = String> {
    let words = [
        "/",
        "per",
        " ",
        ",",
        ".",
        "capacity",
        "all",
        "at",
        "once",
        "all at once",
        "s",
        "ms",
        "h",
        "day",
        "0",
        "1",
        "5",
        "10",
        "18446744073709551615",
        "18446744073709551616",
        "4294967296",
        "36525",
        "0.1",
        "-",
        "+",
        "e",
        "ß",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..12)
        .prop_map(|words| words.concat())
}

/// Checks that a bucket with this quota allows its capacity and no more.
fn check_usable(quota: Quota) {
    let bucket = Bucket::new(quota);
    assert!(
        bucket
            .try_acquire_at(Duration::MAX, quota.capacity())
            .is_allowed()
    );
    assert!(bucket.try_acquire_at(Duration::MAX, 1).is_refused());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_quotas_parse_back(quota in strategies::quota()) {
        let read: Quota = quota.to_string().parse().unwrap();
        prop_assert_eq!(read, quota);
        prop_assert_eq!(read.capacity(), quota.capacity());
        prop_assert_eq!(read.is_interval(), quota.is_interval());
        prop_assert_eq!(rate(&read), rate(&quota));
    }

    #[test]
    fn quotas_are_equal_when_their_rates_are(quota in strategies::greedy_quota(), times in 1..=1000_u64, less in 0..=1_u64) {
        let longer = nanos(quota.period()).checked_mul(times).filter(|&period| period <= strategies::CENTURY);
        let (Some(period), Some(tokens)) = (longer, quota.tokens().checked_mul(times)) else { return Ok(()) };
        let tokens = (tokens - less).max(1);
        let other = Quota::new(quota.capacity(), tokens, Duration::from_nanos(period)).unwrap();
        prop_assert_eq!(other == quota, rate(&other) == rate(&quota));
    }

    #[test]
    fn decimals_are_exact(digits in strategies::log_uniform(1, 999_999_999_999_999_999), decimals in 0..=18_u32) {
        let (scale, text) = (10_u64.pow(decimals), format!("{digits:0width$}", width = decimals as usize + 1));
        let (whole, part) = text.split_at(text.len() - decimals as usize);
        let text = if part.is_empty() { format!("{whole}/s, capacity 7") } else { format!("{whole}.{part}/s, capacity 7") };
        match text.parse::<Quota>() {
            Ok(quota) => prop_assert_eq!(rate(&quota) * integer(1_000_000_000), ratio(digits, scale)),
            Err(error) => {
                let tokens = ratio(digits, scale);
                let too_fast = tokens > integer(1_000_000_000);
                // In lowest terms, the period in nanoseconds is the denominator of the rate, or a
                // factor of it.
                let period = (tokens / integer(1_000_000_000)).denom().clone();
                prop_assert!(too_fast || text.len() > 19 || period > BigInt::from(strategies::CENTURY), "{}: {}", text, error);
            }
        }
    }

    /// A decimal number with few digits, or the `f64` of a simple fraction, becomes that exact
    /// ratio.
    #[test]
    fn a_simple_fraction_is_an_exact_rate(tokens in 1..=100_000_u64, parts in 1..=100_000_u64) {
        let quota = Quota::from_rate(7, tokens as f64 / parts as f64).unwrap();
        prop_assert_eq!(rate(&quota) * integer(1_000_000_000), ratio(tokens, parts));
    }

    /// A rate differs from its number by at most half of the number's last binary digit: at most
    /// 2⁻⁵³ of the number.
    #[test]
    fn a_rate_is_within_half_a_digit_of_its_number(power in -9.6..9.0_f64, digits in 0..=17_usize) {
        let tokens_per_second = 10_f64.powf(power);
        // With few decimal digits, and with all.
        for number in [format!("{tokens_per_second:.digits$e}").parse().unwrap(), tokens_per_second] {
            let Ok(quota) = Quota::from_rate(7, number) else {
                prop_assert!(number * CENTURY_IN_SECONDS as f64 <= 1.0 || number > 1e9, "{}", number);
                continue;
            };
            let error = (rate(&quota) * integer(1_000_000_000) - exact(number)).abs();
            prop_assert!(error <= exact(number) * integer(2).pow(-53), "{} became {}", number, quota);
            prop_assert_eq!(quota.tokens_per_second(), number, "{}", quota);
        }
    }

    #[test]
    fn any_number_gives_a_rate_or_an_error(bits in any::<u64>(), capacity in any::<u32>()) {
        if let Ok(quota) = Quota::from_rate(capacity, f64::from_bits(bits)) {
            check_usable(quota);
        }
    }

    #[test]
    fn any_text_gives_a_quota_or_an_error(text in any::<String>()) {
        if let Ok(quota) = Quota::from_str(&text) {
            check_usable(quota);
        }
    }

    #[test]
    fn any_sequence_of_words_gives_a_quota_or_an_error(text in text_of_parts()) {
        if let Ok(quota) = Quota::from_str(&text) {
            check_usable(quota);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota), "{:?}", text);
        }
    }

    #[test]
    fn any_parameters_give_a_quota_or_an_error(
        capacity in any::<u32>(), tokens in any::<u64>(), period in any::<u64>(),
    ) {
        let period = Duration::from_nanos(period);
        [Quota::new(capacity, tokens, period), Quota::try_interval(capacity, period)]
            .into_iter()
            .flatten()
            .for_each(check_usable);
    }
}
