//! Numbers as values of headers.

use std::sync::LazyLock;

use http::header::HeaderValue;

/// Small numbers are printed once and for all, which saves most answers three allocations.
pub(super) fn number(number: u64) -> HeaderValue {
    static SMALL: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
        // Never freed, so that a copy needs no count of its users, which all threads would write
        // to.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_without_zeros_in_front() {
        for given in [0, 7, 10, 99, 100, 999, 1000, u64::MAX] {
            assert_eq!(number(given), given.to_string().as_str());
        }
    }
}
