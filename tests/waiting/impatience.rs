//! Waiting under impatience, in virtual time: tasks that give up at random moments waste no tokens,
//! admit no more than the quota, and are served in order.
//!
//! Mutations that these tests caught: see the end of each test's documentation.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::{
    task::LocalSet,
    time::{Instant, sleep, timeout},
};
use tollgate::{Bucket, Quota, TokioClock};

/// Length of a run.
const RUN: Duration = Duration::from_secs(3);

/// Granularity of tokio's timers: a token that is ready is used at most this much later.
const TIMER_TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
struct Case {
    rate: u32,
    capacity: u32,
    tasks: usize,
    patience: Duration,
    max_cost: u32,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    (
        500..=5_000_u32,
        1..=200_usize,
        1..=16_u64,
        prop_oneof![Just(1_u32), Just(16)],
        0..=3_u32,
        any::<u64>(),
    )
        .prop_map(|(rate, tasks, patience, max_cost, spare, seed)| Case {
            rate,
            // At least the largest cost, and 2 ms of refill.
            capacity: (rate.div_ceil(500)).max(max_cost) + spare,
            tasks,
            patience: Duration::from_millis(patience),
            max_cost,
            seed,
        })
}

/// Tokens that were granted: when, and how many.
struct Grant {
    at: Duration,
    cost: u32,
    /// Number of the attempt in the order of arrival.
    arrival: u64,
}

/// Runs tasks that loop `timeout(patience, acquire(cost))`, and pause shortly after a failure.
fn run(case: &Case) -> Vec<Grant> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (grants, arrivals) = (
        Rc::new(RefCell::new(Vec::new())),
        Rc::new(RefCell::new(0_u64)),
    );
    LocalSet::new().block_on(&runtime, async {
        let quota = Quota::per_second(case.rate).with_capacity(case.capacity);
        let bucket = Arc::new(Bucket::with_clock(quota, TokioClock::new()));
        let start = Instant::now();
        let mut tasks = Vec::new();
        for task in 0..case.tasks {
            let (bucket, grants, arrivals) = (bucket.clone(), grants.clone(), arrivals.clone());
            let (max_cost, patience) = (case.max_cost, case.patience);
            let mut random = case.seed ^ task as u64;
            tasks.push(tokio::task::spawn_local(async move {
                while start.elapsed() < RUN {
                    random = random
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let cost = 1 + (random >> 33) as u32 % max_cost;
                    let arrival = arrivals.replace_with(|arrivals| *arrivals + 1);
                    match timeout(patience, bucket.acquire(cost)).await {
                        Ok(decision) => {
                            decision.unwrap();
                            grants.borrow_mut().push(Grant {
                                at: start.elapsed(),
                                cost,
                                arrival,
                            });
                        }
                        Err(_) => sleep(Duration::from_micros(100)).await,
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    grants.take()
}

/// Checks every span that ends with a grant: a reference bucket that refills continuously, with the
/// capacity and the refill of a timer's tick more, never runs out.
fn check_admission(case: &Case, grants: &[Grant]) -> Result<(), TestCaseError> {
    // In billionths of a token, exactly: a nanosecond refills `rate` of them.
    let unit = 1_000_000_000_u128;
    let rate = u128::from(case.rate);
    let slack = rate * (TIMER_TICK.as_nanos() + 2_000);
    let full = u128::from(case.capacity) * unit + slack;
    let (mut level, mut last) = (full, Duration::ZERO);
    for grant in grants {
        level = (level + rate * (grant.at - last).as_nanos()).min(full);
        last = grant.at;
        let cost = u128::from(grant.cost) * unit;
        prop_assert!(
            cost <= level,
            "more than capacity and refill at {:?}",
            grant.at
        );
        level -= cost;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// At least 97 % of what the quota gives is used, whatever the patience, when demand is at least
    /// twice the quota; and no more than the quota gives is admitted.
    ///
    /// *Caught:* a guard that does not refund; a permit that is returned before the refund.
    #[test]
    fn impatient_waiters_waste_no_tokens(case in case()) {
        let grants = run(&case);
        check_admission(&case, &grants)?;
        let used: u64 = grants.iter().map(|grant| u64::from(grant.cost)).sum();
        let given = u64::from(case.capacity) + 3 * u64::from(case.rate);
        prop_assert!(used * 100 >= given * 97, "used {used} of {given}");
    }

    /// Tasks with equal costs are served in the order in which they called.
    ///
    /// *Caught:* a caller that takes at once though others are queued.
    #[test]
    fn waiters_with_equal_costs_are_served_in_order(mut case in case()) {
        case.max_cost = 1;
        let grants = run(&case);
        prop_assert!(grants.is_sorted_by_key(|grant| grant.arrival));
    }
}
