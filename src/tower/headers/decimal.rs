//! Decimal numbers as header values.

use std::{sync::LazyLock, time::Duration};

use http::header::HeaderValue;

/// Formats a number as a header value.
///
/// Numbers below 1000 are formatted once per process, which saves most responses three allocations.
pub(super) fn decimal(number: u64) -> HeaderValue {
    static SMALL: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
        // Leaked, so that a clone of a value needs no reference count, which all threads would
        // write to.
        let digits: &'static str = (0..1000)
            .map(|number| format!("{number:03}"))
            .collect::<String>()
            .leak();
        let without_zeros = |number: usize| {
            &digits
                [3 * number + usize::from(number < 100) + usize::from(number < 10)..3 * number + 3]
        };
        (0..1000)
            .map(|number| HeaderValue::from_static(without_zeros(number)))
            .collect()
    });
    usize::try_from(number)
        .ok()
        .and_then(|small| SMALL.get(small))
        .cloned()
        .unwrap_or_else(|| number.into())
}

/// Whole seconds, rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_no_leading_zeros() {
        for number in [0, 7, 10, 99, 100, 999, 1000, u64::MAX] {
            assert_eq!(decimal(number), number.to_string().as_str());
        }
    }

    #[test]
    fn whole_seconds_are_rounded_up() {
        assert_eq!(
            [0, 1, 1_000_000_000, 1_000_000_001]
                .map(|nanos| whole_seconds(Duration::from_nanos(nanos))),
            [0, 1, 1, 2]
        );
    }
}
