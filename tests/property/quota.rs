//! Quotas as text and as decimal numbers: what is printed reads back as the same, a rate is as near
//! as a number can say, and nothing that a person types makes the library panic.
//!
//! Seen to fail when the code was broken on purpose: a debt that is not printed; a period of a
//! nanosecond more for decimals; a rate whose ratio is sought among short periods only. And with
//! earlier code: numbers of nineteen digits were printed and not read; 0.0027049897780348445 became
//! another rate.

use std::{str::FromStr, time::Duration};

use crate::reference::{generate, integer, nanos, rate, ratio};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, Signed};
use proptest::prelude::*;
use tollgate::{Bucket, Quota};

const CENTURY_IN_SECONDS: u64 = generate::CENTURY / 1_000_000_000;

/// The number itself, which is a mantissa and a power of two.
fn exactly(number: f64) -> BigRational {
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
        "debt",
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

/// A quota that was read can be used.
fn use_it(quota: Quota) {
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
    fn what_is_printed_reads_back(quota in generate::quota()) {
        let read: Quota = quota.to_string().parse().unwrap();
        prop_assert_eq!(read, quota);
        prop_assert_eq!(read.capacity(), quota.capacity());
        prop_assert_eq!(read.debt(), quota.debt());
        prop_assert_eq!(read.is_interval(), quota.is_interval());
        prop_assert_eq!(rate(&read), rate(&quota));
    }

    #[test]
    fn quotas_are_equal_when_they_allow_the_same(quota in generate::greedy(), times in 1..=1000_u64, off in 0..=1_u64) {
        let longer = nanos(quota.period()).checked_mul(times).filter(|&period| period <= generate::CENTURY);
        let (Some(period), Some(tokens)) = (longer, quota.tokens().checked_mul(times)) else { return Ok(()) };
        let tokens = (tokens - off).max(1);
        let other = Quota::new(quota.capacity(), tokens, Duration::from_nanos(period)).unwrap();
        let other = other.try_with_debt(quota.debt()).unwrap_or(other);
        prop_assert_eq!(other == quota, rate(&other) == rate(&quota) && other.debt() == quota.debt());
    }

    #[test]
    fn decimals_are_exact(digits in generate::any_size(1, 999_999_999_999_999_999), decimals in 0..=18_u32) {
        let (scale, text) = (10_u64.pow(decimals), format!("{digits:0width$}", width = decimals as usize + 1));
        let (whole, part) = text.split_at(text.len() - decimals as usize);
        let text = if part.is_empty() { format!("{whole}/s, capacity 7") } else { format!("{whole}.{part}/s, capacity 7") };
        match text.parse::<Quota>() {
            Ok(quota) => prop_assert_eq!(rate(&quota) * integer(1_000_000_000), ratio(digits, scale)),
            Err(error) => {
                let tokens = ratio(digits, scale);
                let too_fast = tokens > integer(1_000_000_000);
                // In lowest terms, the period in nanoseconds is the rate's denominator, or a factor
                // of it.
                let period = (tokens / integer(1_000_000_000)).denom().clone();
                prop_assert!(too_fast || text.len() > 19 || period > BigInt::from(generate::CENTURY), "{}: {}", text, error);
            }
        }
    }

    /// Simple numbers, as people type them, are the ratio that was typed, and so is any simple
    /// fraction.
    #[test]
    fn a_simple_number_stands_for_itself(tokens in 1..=100_000_u64, parts in 1..=100_000_u64) {
        let quota = Quota::from_rate(7, tokens as f64 / parts as f64).unwrap();
        prop_assert_eq!(rate(&quota) * integer(1_000_000_000), ratio(tokens, parts));
    }

    /// A rate differs from the number it was made of by half of that number's last binary digit at
    /// most, which is no more than 2⁻⁵³ of it.
    #[test]
    fn a_rate_is_as_near_as_its_number_says(power in -9.6..9.0_f64, digits in 0..=17_usize) {
        let tokens_per_second = 10_f64.powf(power);
        // As people type it, and as it came.
        for number in [format!("{tokens_per_second:.digits$e}").parse().unwrap(), tokens_per_second] {
            let Ok(quota) = Quota::from_rate(7, number) else {
                prop_assert!(number * CENTURY_IN_SECONDS as f64 <= 1.0 || number > 1e9, "{}", number);
                continue;
            };
            let error = (rate(&quota) * integer(1_000_000_000) - exactly(number)).abs();
            prop_assert!(error <= exactly(number) * integer(2).pow(-53), "{} became {}", number, quota);
            prop_assert_eq!(quota.tokens_per_second(), number, "{}", quota);
        }
    }

    #[test]
    fn any_number_is_a_rate_or_an_error(bits in any::<u64>(), capacity in any::<u32>()) {
        if let Ok(quota) = Quota::from_rate(capacity, f64::from_bits(bits)) {
            use_it(quota);
        }
    }

    #[test]
    fn any_text_is_a_quota_or_an_error(text in any::<String>()) {
        if let Ok(quota) = Quota::from_str(&text) {
            use_it(quota);
        }
    }

    #[test]
    fn any_words_are_a_quota_or_an_error(text in text_of_parts()) {
        if let Ok(quota) = Quota::from_str(&text) {
            use_it(quota);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota), "{:?}", text);
        }
    }

    #[test]
    fn any_numbers_are_a_quota_or_an_error(
        capacity in any::<u32>(), tokens in any::<u64>(), period in any::<u64>(), debt in any::<u32>(),
    ) {
        let period = Duration::from_nanos(period);
        for quota in [Quota::new(capacity, tokens, period), Quota::try_interval(capacity, period)] {
            for quota in [quota, quota.and_then(|quota| quota.try_with_debt(debt))].into_iter().flatten() {
                use_it(quota);
            }
        }
    }
}
