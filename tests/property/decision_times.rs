//! Times of decisions: an attempt is refused a nanosecond before `retry_after` and allowed at it; a
//! bucket is full at `reset_after` and not a nanosecond before. Reservations become ready in FIFO
//! order and within their maximum wait. Stale clocks and the horizon mint no tokens.
//!
//! Mutations that these tests caught:
//!
//! - refused just before, allowed exactly at: `nanos_at` rounded down; the tick ratio rounded down;
//!   `ready_at` rounded down where a tick refills several tokens; a refusal of a deadline that is
//!   met exactly; `<` for `<=` at the capacity; the remainder of a refill dropped; a window that ends a tick late, or begins at its first use after an earlier window
//!   ended.
//! - FIFO order: a wrapping difference in `refill_to`; the stamp set to an earlier time; a wait for
//!   a caller whose clock is behind, though the tokens are available.
//! - stale clocks: a wrapping difference in `refill_to`; the stamp set to an earlier time; no
//!   horizon.
//! - the horizon: the same three, and `ready_at` rounded down where a tick refills several tokens.

use std::time::Duration;

use crate::reference::{
    driver::{Driver, Event},
    nanos, strategies,
    ticks::HORIZON,
};
use proptest::prelude::*;
use tollgate::{Bucket, Outcome, Quota};

const NANOSECOND: Duration = Duration::from_nanos(1);
/// Time after which no bucket changes.
const AT_HORIZON: Duration = Duration::from_nanos(HORIZON);

/// Returns the state of the word, to detect writes.
fn debug_state(bucket: &Bucket) -> String {
    format!("{bucket:?}")
}

fn check_times(bucket: &Bucket, event: &Event) -> Result<(), TestCaseError> {
    let Event::Decided {
        now,
        cost,
        decision,
        ..
    } = *event
    else {
        return Ok(());
    };
    let (before, capacity) = (debug_state(bucket), bucket.quota().capacity());
    if let Some(retry_after) = decision.retry_after() {
        prop_assert!(retry_after > Duration::ZERO);
        prop_assert_eq!(
            bucket
                .try_acquire_at(now + retry_after - NANOSECOND, cost)
                .outcome(),
            Outcome::Refused
        );
        prop_assert!(bucket.available_at(now + retry_after) >= cost);
    } else if decision.is_refused() && cost <= capacity {
        prop_assert!(
            bucket.try_acquire_at(AT_HORIZON, cost).is_refused(),
            "no retry_after or reset_after before the horizon"
        );
    }
    match decision.reset_after() {
        Duration::ZERO => prop_assert_eq!(bucket.available_at(now), capacity),
        Duration::MAX => prop_assert!(
            bucket.available_at(AT_HORIZON) < capacity,
            "no retry_after or reset_after before the horizon"
        ),
        reset_after => {
            prop_assert!(bucket.available_at(now + reset_after - NANOSECOND) < capacity);
            prop_assert_eq!(bucket.available_at(now + reset_after), capacity);
        }
    }
    prop_assert_eq!(
        debug_state(bucket),
        before,
        "a refusal and a cost of 0 write nothing"
    );
    Ok(())
}

fn check_refusals(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(quota, start);
    for call in calls {
        let before = debug_state(&driver.bucket);
        let Some(event) = driver.call(call) else {
            continue;
        };
        let Event::Decided {
            now,
            cost,
            decision,
            max_wait,
        } = event
        else {
            continue;
        };
        if decision.is_refused() || cost == 0 {
            prop_assert_eq!(debug_state(&driver.bucket), before, "nothing was taken");
        }
        check_times(&driver.bucket, &event)?;
        match (decision.outcome(), decision.retry_after()) {
            (Outcome::DeadlineTooSoon, Some(need)) => {
                prop_assert!(need > max_wait.unwrap_or_default());
                prop_assert!(
                    driver
                        .bucket
                        .reserve_at(now, cost, need - NANOSECOND)
                        .is_refused()
                );
                let in_time = driver.bucket.reserve_at(now, cost, need);
                prop_assert!(
                    in_time.is_allowed() && in_time.wait() == need,
                    "{:?}",
                    in_time
                );
            }
            (Outcome::Refused, Some(retry_after)) => {
                if max_wait.is_some() {
                    let again = driver.bucket.reserve_at(now, cost, Duration::MAX);
                    prop_assert_eq!(again.outcome(), Outcome::Refused, "regardless of max_wait");
                }
                prop_assert!(
                    driver
                        .bucket
                        .try_acquire_at(now + retry_after, cost)
                        .is_allowed()
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_fifo_order(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(quota, start);
    let (mut time, mut last_ready) = (0, 0);
    for call in calls {
        let Some(Event::Decided {
            now,
            cost,
            max_wait,
            decision,
        }) = driver.call(call)
        else {
            continue;
        };
        if decision.is_refused() || cost == 0 {
            continue;
        }
        prop_assert!(decision.wait() <= max_wait.unwrap_or_default());
        time = time.max(nanos(now));
        let ready = time.max(nanos(now).saturating_add(nanos(decision.wait())));
        prop_assert!(
            ready >= last_ready,
            "{:?} is ready before an earlier reservation",
            decision
        );
        last_ready = ready;
    }
    Ok(())
}

/// Checks that no charge increases the tokens available at the horizon, and that a clock behind the
/// last charge gets the state at that charge.
fn check_nothing_is_minted(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(quota, start);
    let (mut last_charge, mut available_before) = (Duration::ZERO, quota.capacity());
    for call in calls {
        let Some(Event::Decided {
            now,
            cost,
            decision,
            ..
        }) = driver.call(call)
        else {
            continue;
        };
        if decision.is_allowed() && cost > 0 {
            last_charge = last_charge.max(now);
        }
        let available = driver.bucket.available_at(AT_HORIZON);
        prop_assert!(
            available <= available_before,
            "{:?} increased the available tokens: expected at most {2}, got {1}",
            decision,
            available,
            available_before
        );
        available_before = available;
        for behind in [
            Duration::ZERO,
            last_charge / 2,
            last_charge.saturating_sub(NANOSECOND),
        ] {
            let (stale, then) = (
                driver.bucket.available_at(behind),
                driver.bucket.available_at(last_charge),
            );
            prop_assert_eq!(
                stale,
                then,
                "a clock at {:?}, behind {:?}",
                behind,
                last_charge
            );
        }
    }
    Ok(())
}

/// Checks that a bucket drained at the horizon stays empty.
fn check_horizon(quota: Quota, past_horizon: &[u64]) -> Result<(), TestCaseError> {
    let bucket = Bucket::new(quota);
    let end = Duration::from_nanos(HORIZON);
    prop_assert!(bucket.try_acquire_at(end, quota.capacity()).is_allowed());
    let past_horizon = past_horizon
        .iter()
        .map(|&nanos| end.saturating_add(Duration::from_nanos(nanos)));
    for now in past_horizon.chain([
        end,
        Duration::from_nanos(u64::MAX),
        Duration::MAX,
        Duration::ZERO,
    ]) {
        let refused = bucket.try_acquire_at(now, 1);
        prop_assert_eq!(refused.outcome(), Outcome::Refused);
        prop_assert_eq!(refused.retry_after(), None);
        prop_assert_eq!(
            (refused.remaining(), refused.reset_after()),
            (0, Duration::MAX)
        );
        prop_assert!(bucket.reserve_at(now, 1, Duration::MAX).is_refused());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attempts_are_refused_just_before_and_allowed_exactly_at(
        quota in strategies::quota(), start in strategies::start(), calls in strategies::charges(50),
    ) {
        check_refusals(quota, start, &calls)?;
    }

    #[test]
    fn attempts_with_a_queue_are_refused_just_before_and_allowed_exactly_at(
        quota in strategies::queueing_quota(), start in strategies::start(), calls in strategies::charges(50),
    ) {
        check_refusals(quota, start, &calls)?;
    }

    #[test]
    fn reservations_become_ready_in_fifo_order(
        quota in strategies::queueing_quota(), start in strategies::start(), calls in strategies::charges(60),
    ) {
        check_fifo_order(quota, start, &calls)?;
    }

    #[test]
    fn stale_clocks_mint_nothing(
        quota in strategies::quota(), start in strategies::start(), calls in strategies::charges(60),
    ) {
        check_nothing_is_minted(quota, start, &calls)?;
    }

    #[test]
    fn stale_clocks_mint_nothing_with_a_queue(
        quota in strategies::queueing_quota(), start in strategies::start(), calls in strategies::charges(60),
    ) {
        check_nothing_is_minted(quota, start, &calls)?;
    }

    #[test]
    fn a_bucket_drained_at_the_horizon_stays_empty(
        quota in strategies::quota(), past_horizon in prop::collection::vec(any::<u64>(), 0..10),
    ) {
        check_horizon(quota, &past_horizon)?;
    }
}
