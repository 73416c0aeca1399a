//! The times a decision names are exact: refused a nanosecond before `retry_after` and allowed at
//! it, full at `reset_after` and not a nanosecond before. Reservations are ready in turn and within
//! what they would wait. Clocks that are behind, and the end of time, give nothing away.
//!
//! Seen to fail when the code was broken on purpose:
//!
//! - refused just before, allowed at: `nanos_at` rounded down; the multiplier rounded down; `ready`
//!   rounded down where a step brings several tokens; a deadline that is met exactly refused; `<`
//!   for `<=` at the capacity; the debt not checked; the refill's remainder dropped; a window that
//!   ends a step late, or begins at its first use after an earlier one ended.
//! - first come, first served: a wrapping difference in `settle`; the stamp set to a time before
//!   it; a wait told to a clock that is behind; the debt not checked.
//! - clocks that are behind: a wrapping difference in `settle`; the stamp set to a time before it;
//!   no horizon.
//! - the end of time: the same three, and `ready` rounded down where a step brings several tokens.

use std::time::Duration;

use crate::reference::{
    generate,
    grid::HORIZON,
    nanos,
    play::{Event, Player},
};
use proptest::prelude::*;
use tollgate::{Bucket, Outcome, Quota};

const NANOSECOND: Duration = Duration::from_nanos(1);
/// Behind every time at which the bucket still changes.
const MUCH_LATER: Duration = Duration::from_nanos(HORIZON);

/// The word, to see that nothing was written.
fn shown(bucket: &Bucket) -> String {
    format!("{bucket:?}")
}

fn times_are_exact(bucket: &Bucket, event: &Event) -> Result<(), TestCaseError> {
    let Event::Decided {
        now,
        cost,
        decision,
        ..
    } = *event
    else {
        return Ok(());
    };
    let (before, capacity) = (shown(bucket), bucket.quota().capacity());
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
            bucket.try_acquire_at(MUCH_LATER, cost).is_refused(),
            "never means never"
        );
    }
    match decision.reset_after() {
        Duration::ZERO => prop_assert_eq!(bucket.available_at(now), capacity),
        Duration::MAX => prop_assert!(
            bucket.available_at(MUCH_LATER) < capacity,
            "never means never"
        ),
        reset_after => {
            prop_assert!(bucket.available_at(now + reset_after - NANOSECOND) < capacity);
            prop_assert_eq!(bucket.available_at(now + reset_after), capacity);
        }
    }
    prop_assert_eq!(shown(bucket), before, "a refusal and a look write nothing");
    Ok(())
}

fn refusals_are_exact(
    quota: Quota,
    start: u64,
    calls: &[generate::Call],
) -> Result<(), TestCaseError> {
    let mut player = Player::new(quota, start);
    for call in calls {
        let before = shown(&player.bucket);
        let Some(event) = player.play(call) else {
            continue;
        };
        let Event::Decided {
            now,
            cost,
            decision,
            patience,
        } = event
        else {
            continue;
        };
        if decision.is_refused() || cost == 0 {
            prop_assert_eq!(shown(&player.bucket), before, "nothing was taken");
        }
        times_are_exact(&player.bucket, &event)?;
        match (decision.outcome(), decision.retry_after()) {
            (Outcome::DeadlineTooSoon, Some(need)) => {
                prop_assert!(need > patience.unwrap_or_default());
                prop_assert!(
                    player
                        .bucket
                        .reserve_at(now, cost, need - NANOSECOND)
                        .is_refused()
                );
                let in_time = player.bucket.reserve_at(now, cost, need);
                prop_assert!(
                    in_time.is_allowed() && in_time.wait() == need,
                    "{:?}",
                    in_time
                );
            }
            (Outcome::DebtExhausted, _) => {
                let again = player.bucket.reserve_at(now, cost, Duration::MAX);
                prop_assert_eq!(
                    again.outcome(),
                    Outcome::DebtExhausted,
                    "whatever the patience"
                );
            }
            (Outcome::Refused, Some(retry_after)) => {
                prop_assert!(
                    player
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

fn in_turn(quota: Quota, start: u64, calls: &[generate::Call]) -> Result<(), TestCaseError> {
    let mut player = Player::new(quota, start);
    let (mut time, mut last_ready) = (0, 0);
    for call in calls {
        let Some(Event::Decided {
            now,
            cost,
            patience,
            decision,
        }) = player.play(call)
        else {
            continue;
        };
        if decision.is_refused() || cost == 0 {
            continue;
        }
        prop_assert!(decision.wait() <= patience.unwrap_or_default());
        time = time.max(nanos(now));
        let ready = time.max(nanos(now).saturating_add(nanos(decision.wait())));
        prop_assert!(
            ready >= last_ready,
            "{:?} is ready before one that came earlier",
            decision
        );
        last_ready = ready;
    }
    Ok(())
}

/// Whatever is taken at whatever times: later there is never more than before, and a clock that is
/// behind the last charge sees what was there then.
fn nothing_is_minted(
    quota: Quota,
    start: u64,
    calls: &[generate::Call],
) -> Result<(), TestCaseError> {
    let mut player = Player::new(quota, start);
    let (mut last_charge, mut there_much_later) = (Duration::ZERO, quota.capacity());
    for call in calls {
        let Some(Event::Decided {
            now,
            cost,
            decision,
            ..
        }) = player.play(call)
        else {
            continue;
        };
        if decision.is_allowed() && cost > 0 {
            last_charge = last_charge.max(now);
        }
        let there = player.bucket.available_at(MUCH_LATER);
        prop_assert!(
            there <= there_much_later,
            "{:?} made {} of {}",
            decision,
            there,
            there_much_later
        );
        there_much_later = there;
        for behind in [
            Duration::ZERO,
            last_charge / 2,
            last_charge.saturating_sub(NANOSECOND),
        ] {
            let (stale, then) = (
                player.bucket.available_at(behind),
                player.bucket.available_at(last_charge),
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

/// Once drained at the end of time, a bucket is empty for good.
fn time_ends(quota: Quota, behind: &[u64]) -> Result<(), TestCaseError> {
    let bucket = Bucket::new(quota);
    let end = Duration::from_nanos(HORIZON);
    prop_assert!(bucket.try_acquire_at(end, quota.capacity()).is_allowed());
    let behind = behind
        .iter()
        .map(|&more| end.saturating_add(Duration::from_nanos(more)));
    for now in behind.chain([
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
    fn refused_just_before_and_allowed_at(
        quota in generate::quota(), start in generate::start(), calls in generate::charges(50),
    ) {
        refusals_are_exact(quota, start, &calls)?;
    }

    #[test]
    fn refused_just_before_and_allowed_at_in_a_queue(
        quota in generate::crowded(), start in generate::start(), calls in generate::charges(50),
    ) {
        refusals_are_exact(quota, start, &calls)?;
    }

    #[test]
    fn who_came_first_is_served_first(
        quota in generate::crowded(), start in generate::start(), calls in generate::charges(60),
    ) {
        in_turn(quota, start, &calls)?;
    }

    #[test]
    fn clocks_that_are_behind_mint_nothing(
        quota in generate::quota(), start in generate::start(), calls in generate::charges(60),
    ) {
        nothing_is_minted(quota, start, &calls)?;
    }

    #[test]
    fn clocks_that_are_behind_mint_nothing_in_a_queue(
        quota in generate::crowded(), start in generate::start(), calls in generate::charges(60),
    ) {
        nothing_is_minted(quota, start, &calls)?;
    }

    #[test]
    fn a_bucket_stays_shut_at_the_end_of_time(
        quota in generate::quota(), behind in prop::collection::vec(any::<u64>(), 0..10),
    ) {
        time_ends(quota, &behind)?;
    }
}
