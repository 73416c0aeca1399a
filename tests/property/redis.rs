//! Comparison of a bucket in Redis with the reference in exact rational arithmetic: every decision,
//! refund and reset, over random quotas, times (stale, backward, far away) and costs. The module
//! `decisions` does the same for buckets in memory.
//!
//! Redis drops the key of a full bucket and of a bucket that was reset. After a reset, the
//! reference is replaced by a new one.

use std::time::Duration;

use crate::reference::{
    Charge, DecisionFields, Reference,
    driver::{Driver, Event, Target},
    strategies::{self, Call, Cost, Operation},
};
use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use test_support::redis::RedisServer;
use tokio::runtime::Runtime;
use tollgate::{Decision, DecisionSource, DecisionView, ManualClock, Quota, RedisLimiter};

/// One bucket in Redis.
struct Bucket<'a> {
    runtime: &'a Runtime,
    limiter: &'a RedisLimiter,
    clock: &'a ManualClock,
}

impl Target for Bucket<'_> {
    type Decision = Decision;

    fn take(&self, now: Duration, cost: u32) -> Decision {
        self.clock.set(now);
        let decision = self.runtime.block_on(self.limiter.try_acquire("key", cost));
        // A refusal may be remembered.
        let source = decision.source();
        assert!(
            source == DecisionSource::Redis
                || decision.is_refused() && source == DecisionSource::Lease,
            "{source:?}"
        );
        decision
    }

    fn reserve(&self, _: Duration, _: u32, _: Duration) -> Decision {
        unreachable!("buckets in Redis have no reservations")
    }

    fn refund(&self, decision: Decision) -> bool {
        self.runtime
            .block_on(self.limiter.refund("key", decision))
            .unwrap()
    }

    fn reset(&self, now: Duration) {
        self.clock.set(now);
        self.runtime.block_on(self.limiter.reset("key")).unwrap();
    }

    fn pause(&self, _: Duration, _: Duration) {
        unreachable!("buckets in Redis have no pauses")
    }

    fn rebase(&self, _: Duration) {
        unreachable!("buckets in Redis rebase by themselves")
    }

    fn decision(decision: &Decision) -> DecisionView {
        decision.view()
    }
}

fn compare(
    bucket: Bucket<'_>,
    quota: Quota,
    start: u64,
    calls: &[Call],
) -> Result<(), TestCaseError> {
    bucket
        .runtime
        .block_on(bucket.limiter.replace_and_reset(quota))
        .unwrap();
    let (mut driver, mut reference) = (
        Driver::with_target(bucket, quota, start),
        Reference::unpacked(&quota),
    );
    let mut charges: Vec<Option<Charge>> = Vec::new();
    for call in calls {
        let failure = |what: String| TestCaseError::fail(format!("{quota}: {call:?}: {what}"));
        match driver.call(call) {
            None => {}
            Some(Event::Decided {
                now,
                cost,
                decision,
                ..
            }) => {
                // The server's clock counts microseconds.
                let now = Duration::from_micros(now.as_micros().min(u64::MAX.into()) as u64);
                let fields = DecisionFields::of(&decision);
                let charge = reference.follow(now, cost, None, &fields);
                charges.push(charge.map_err(|expected| {
                    failure(format!("expected {expected:?}, got {fields:?}"))
                })?);
            }
            Some(Event::Refunded { number, gave_back }) => {
                let expected = charges[number]
                    .as_ref()
                    .is_some_and(|charge| reference.refund(charge));
                if gave_back != expected {
                    return Err(failure(format!(
                        "refund of decision {number}: expected {expected}, got {gave_back}"
                    )));
                }
            }
            Some(Event::Reset { .. }) => {
                reference = Reference::unpacked(&quota);
                charges.fill(None);
            }
            Some(Event::Paused { .. } | Event::Rebased { .. }) => unreachable!(),
        }
    }
    Ok(())
}

/// Calls without reservations, pauses and rebases: takes stand in for them.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let takes = |(when, operation)| match operation {
        Operation::Reserve(cost, _) => (when, Operation::Take(cost)),
        Operation::Pause(_) | Operation::Rebase => (when, Operation::Take(Cost::Exactly(1))),
        operation => (when, operation),
    };
    strategies::calls(60).prop_map(move |calls| calls.into_iter().map(takes).collect())
}

#[test]
fn a_bucket_in_redis_decides_like_the_reference() {
    let (server, runtime, clock) = (
        RedisServer::start(),
        Runtime::new().unwrap(),
        ManualClock::new(),
    );
    let builder = RedisLimiter::builder(&server.url(), Quota::per_second(1));
    let connecting = builder
        .timeout(Duration::from_secs(10))
        // Time goes anywhere here: the reference never rebases.
        .clock_tolerance(Duration::MAX)
        .clock(clock.clone())
        .connect();
    let limiter = runtime.block_on(connecting).unwrap();

    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (strategies::quota(), strategies::start(), calls());
    let compared = TestRunner::new(config).run(&strategy, |(quota, start, calls)| {
        let bucket = Bucket {
            runtime: &runtime,
            limiter: &limiter,
            clock: &clock,
        };
        compare(bucket, quota, start, &calls)
    });
    match compared {
        Err(TestError::Fail(why, (quota, start, calls))) => {
            panic!("{why}\nfrom {start}: {quota:?} {calls:#?}")
        }
        other => other.unwrap(),
    }
}

/// Event in the life of a bucket whose server has a clock that steps.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u32),
    /// True time passes, in milliseconds.
    Pass(u64),
    /// The clock steps back, by more than the tolerance or less.
    Back(u64),
    /// The clock is corrected to the true time.
    Correct,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..=5_u32).prop_map(Step::Take),
        4 => (1..3_000_u64).prop_map(Step::Pass),
        1 => (1..5_000_u64).prop_map(Step::Back),
        1 => (5_000..90_000_000_u64).prop_map(Step::Back),
        1 => Just(Step::Correct),
    ];
    prop::collection::vec(step, 1..60)
}

/// Plays steps on one key and checks after each that no more is admitted than the clock's own
/// refill, nor than the true refill and one capacity per step back; and that no client waits longer
/// than for a whole refill.
fn play(
    runtime: &Runtime,
    limiter: &RedisLimiter,
    clock: &ManualClock,
    key: &str,
    quota: Quota,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    const TOLERANCE: u64 = 1000;
    let capacity = u64::from(quota.capacity());
    let period = quota.period().as_millis() as u64;
    let refill = |millis: u64| {
        if quota.is_interval() {
            millis / period * capacity
        } else {
            (millis * quota.tokens()).div_ceil(period)
        }
    };
    let full_refill = if quota.is_interval() {
        period
    } else {
        (capacity * period).div_ceil(quota.tokens())
    };
    let begin = 10_000_000_000_u64;
    let (mut now, mut lag, mut steps_back) = (begin, 0, 0);
    // Time that the clock has counted forward.
    let (mut forward, mut admitted) = (0, 0);
    for step in steps {
        match *step {
            Step::Pass(millis) => {
                now += millis;
                forward += millis;
            }
            Step::Back(millis) => {
                lag += millis;
                steps_back += 1;
            }
            Step::Correct => forward += std::mem::take(&mut lag),
            Step::Take(cost) => {
                clock.set(Duration::from_millis(now - lag));
                let decision = runtime.block_on(limiter.try_acquire(key, cost));
                if decision.is_allowed() {
                    admitted += u64::from(cost);
                } else if let Some(wait) = decision.retry_after() {
                    let most = full_refill + TOLERANCE + 1;
                    prop_assert!(wait.as_millis() as u64 <= most, "{decision}: {wait:?}");
                }
            }
        }
        prop_assert!(
            admitted <= capacity + refill(forward),
            "{admitted} in {forward} ms of the clock"
        );
        prop_assert!(
            admitted <= capacity * (1 + steps_back) + refill(now - begin),
            "{admitted} in {} ms with {steps_back} steps back",
            now - begin
        );
    }
    Ok(())
}

#[test]
fn clock_steps_admit_at_most_a_capacity_each_and_lock_nothing_out() {
    let (server, runtime, clock) = (
        RedisServer::start(),
        Runtime::new().unwrap(),
        ManualClock::new(),
    );
    for (prefix, quota) in [
        ("greedy", Quota::per_second(2).with_capacity(8)),
        ("interval", Quota::interval(8, Duration::from_secs(4))),
    ] {
        let connecting = RedisLimiter::builder(&server.url(), quota)
            .prefix(prefix)
            .timeout(Duration::from_secs(10))
            .clock(clock.clone())
            .connect();
        let limiter = runtime.block_on(connecting).unwrap();
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let keys = std::cell::Cell::new(0);
        let played = TestRunner::new(config).run(&steps(), |steps| {
            keys.set(keys.get() + 1);
            let key = keys.get().to_string();
            play(&runtime, &limiter, &clock, &key, quota, &steps)
        });
        match played {
            Err(TestError::Fail(why, steps)) => panic!("{why}\n{quota}: {steps:?}"),
            other => other.unwrap(),
        }
        assert!(limiter.stats().rebased > 0);
    }
}
