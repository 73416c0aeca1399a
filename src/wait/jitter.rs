//! Random delays, which keep clients from calling at the same moment.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::duration::saturating_nanos;

/// Returns a random time from 0 to `max`.
pub(crate) fn random_delay(max: Duration) -> Duration {
    // Each state has keys of its own, so the hash of nothing is a random number.
    let random = RandomState::new().hash_one(());
    let choices = u128::from(saturating_nanos(max)) + 1;
    let nanos = (u128::from(random) * choices) >> 64;
    // Less than the number of choices, which is at most 2⁶⁴.
    Duration::from_nanos(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Caught:* a constant; a range that lacks an end.
    #[test]
    fn delays_are_spread_over_the_range() {
        let max = Duration::from_nanos(3);
        let mut counts = [0_u32; 4];
        for _ in 0..4_000 {
            counts[random_delay(max).as_nanos() as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
        assert_eq!(random_delay(Duration::ZERO), Duration::ZERO);
        assert!(random_delay(Duration::MAX) > Duration::from_secs(1));
    }
}
