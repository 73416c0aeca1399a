//! Scripts on a real server compared with the transitions of `state`, step by step.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use redis::Connection;
use test_support::redis::RedisServer;

use super::{
    keyspace::Keyspace,
    script::{Call, PAUSE, REFUND, TAKE, TakeReply},
    script_quota::ScriptQuota,
    settings::Settings,
};
use crate::{quota::Quota, state::State};

const CENTURY: u64 = 36_525 * 86_400 * 1_000_000_000;
/// Microseconds until the horizon, where time stands still.
const END: u64 = (1 << 30) * 1_000_000;
const BUCKET: &[u8] = b"bucket";
/// Time by which a stamp may be ahead.
const TOLERANCE: Duration = Duration::from_secs(1);

/// One step on a bucket.
#[derive(Clone, Debug)]
enum Step {
    /// Takes tokens at a time in microseconds.
    Take(u64, u32),
    /// Takes tokens in the first microsecond of a tick, or the last one before it: an inexact floor
    /// would show there.
    TakeAtTick(u64, bool, u32),
    /// Takes tokens when the refill time of this many tokens has passed, which is often exactly the
    /// beginning of a microsecond.
    TakeAtToken(u64, u32),
    /// Pauses the bucket at a time, for a number of microseconds.
    Pause(u64, u64),
    /// Refunds an earlier charge, counted from the last one.
    Refund(usize),
    /// Refunds a charge that the bucket has lost, as after a failover to a stale replica.
    RefundLost(u64),
}

fn any_size(most: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(move |(number, shift)| (number >> shift).min(most))
}

fn quota() -> impl Strategy<Value = Quota> {
    let capacity = || {
        prop_oneof![
            1..=12_u32,
            any_size(u64::from(u32::MAX)).prop_map(|capacity| (capacity as u32).max(1))
        ]
    };
    let seconds = prop::sample::select(vec![1, 60, 3600, 86_400])
        .prop_map(|seconds: u64| seconds * 1_000_000_000);
    let rate = prop_oneof![
        (1..=1000_u64, seconds),
        (any_size(CENTURY), any_size(CENTURY))
            .prop_map(|(a, b)| (a.min(b).max(1), a.max(b).max(1))),
        Just((1, 1)),
        Just((1, CENTURY)),
    ];
    let greedy = (capacity(), rate).prop_map(|(capacity, (tokens, nanos))| {
        Quota::new(capacity, tokens, Duration::from_nanos(nanos)).unwrap()
    });
    let interval = (capacity(), any_size(CENTURY)).prop_map(|(capacity, nanos)| {
        Quota::try_interval(
            capacity,
            Duration::from_nanos(nanos.max(1000).max(capacity.into())),
        )
        .unwrap()
    });
    prop_oneof![3 => greedy, 1 => interval]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time =
        || prop_oneof![9 => any_size(END + 2), 1 => any_size(1 << 52), 1 => END - 2..=END + 2];
    let cost = || prop_oneof![3 => 0..=12_u32, 1 => any_size(u64::from(u32::MAX)).prop_map(|cost| cost as u32)];
    let step = prop_oneof![
        3 => (time(), cost()).prop_map(|(micros, cost)| Step::Take(micros, cost)),
        4 => (any_size(1 << 52), any::<bool>(), cost()).prop_map(|(tick, before, cost)| Step::TakeAtTick(tick, before, cost)),
        4 => (any_size(1 << 40), cost()).prop_map(|(tokens, cost)| Step::TakeAtToken(tokens, cost)),
        3 => (0..4_usize).prop_map(Step::Refund),
        1 => (1..1000_u64).prop_map(Step::RefundLost),
        1 => (time(), any_size(END)).prop_map(|(micros, length)| Step::Pause(micros, length)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Bucket in `state`, beside the one on the server.
struct Both<'a> {
    limit: ScriptQuota,
    state: State,
    charges: Vec<(State, u64)>,
    /// Incarnation of the stored bucket. `None`: no bucket is stored.
    incarnation: Option<u64>,
    /// The bucket is paused until its stamp, or has not been charged since.
    paused: bool,
    /// Number of calls, which also numbers the incarnations.
    calls: u64,
    connection: &'a mut Connection,
}

impl Both<'_> {
    fn take(&mut self, micros: u64, cost: u32) -> Result<(), TestCaseError> {
        let layout = &self.limit.layout;
        let (tick, units) = (layout.tick(micros * 1000), layout.units(cost));
        self.calls += 1;
        let tolerance = layout.tick(TOLERANCE.as_nanos() as u64);
        let rebased = !self.paused && self.state.stamp.saturating_sub(tick) > tolerance;
        if rebased {
            self.state.stamp = tick;
            self.incarnation = Some(self.calls);
            self.charges.clear();
        }
        let settled = layout.refill_to(self.state, tick);
        let possible = cost > 0 && cost <= layout.capacity_tokens();
        let charged = possible
            .then(|| layout.reserve(self.state, tick, units, tick).ok())
            .flatten();
        if let Some(charged) = charged {
            self.state = charged;
            self.paused = false;
            self.charges.push((charged, units));
        }
        let incarnation = self.incarnation.unwrap_or(self.calls);
        if charged.is_some() {
            self.incarnation = Some(incarnation);
        }
        let State { spent, stamp } = charged.unwrap_or(settled);
        let call = Call::new(&TAKE, BUCKET.to_vec())
            .bytes(&self.limit.packed)
            .number(cost.into())
            .number(self.calls)
            .number(micros);
        let taken = TakeReply::read(call.by_source().query(self.connection).unwrap()).unwrap();
        prop_assert_eq!(
            taken,
            TakeReply {
                taken: charged.is_some(),
                micros,
                spent,
                stamp,
                incarnation,
                rebased
            }
        );
        Ok(())
    }

    fn pause(&mut self, micros: u64, length: u64) -> Result<(), TestCaseError> {
        let layout = &self.limit.layout;
        let tick = |micros: u64| layout.tick(micros.saturating_mul(1000));
        self.calls += 1;
        let call = Call::new(&PAUSE, BUCKET.to_vec())
            .bytes(&self.limit.packed)
            .number(length)
            .number(self.calls)
            .number(micros);
        let ends: u64 = call.by_source().query(self.connection).unwrap();
        let (now, earlier) = (tick(micros), if self.paused { self.state.stamp } else { 0 });
        let least = tick(micros.saturating_add(length)).max(now).max(earlier);
        // The length of a tick is rounded, and has a margin.
        let most = least.saturating_add(least / 500_000_000 + 2);
        prop_assert!(
            (least..=most.min(layout.last_tick())).contains(&ends),
            "{ends} not in {least}..={most}"
        );
        if ends > now.max(earlier) {
            self.state = State {
                spent: layout.capacity,
                stamp: ends,
            };
            (self.paused, self.incarnation) = (true, Some(self.calls));
            self.charges.clear();
        }
        Ok(())
    }

    fn refund_earlier(&mut self, before: usize) -> Result<(), TestCaseError> {
        let Some(place) = self.charges.len().checked_sub(before + 1) else {
            return Ok(());
        };
        let (charged, units) = self.charges[place];
        if self.refund(charged, units)? {
            self.charges.remove(place);
        }
        Ok(())
    }

    /// Returns whether tokens were given back.
    fn refund(&mut self, charged: State, units: u64) -> Result<bool, TestCaseError> {
        let refunded = self.limit.layout.refund(self.state, charged, units);
        let call = Call::new(&REFUND, BUCKET.to_vec())
            .bytes(&self.limit.packed)
            .number(self.incarnation.unwrap_or(0))
            .number(charged.stamp)
            .number(units);
        let refunded_by_script: bool = call.by_source().query(self.connection).unwrap();
        prop_assert_eq!(refunded_by_script, refunded.is_some());
        self.state = refunded.unwrap_or(self.state);
        Ok(refunded_by_script)
    }

    fn micros_at(&self, tick: u64) -> u64 {
        let tick = tick.min(self.limit.layout.last_tick());
        self.limit
            .layout
            .scaled
            .nanos_at(tick)
            .map_or(0, |nanos| nanos.div_ceil(1000))
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Take(micros, cost) => self.take(micros, cost),
            Step::TakeAtTick(tick, before, cost) => {
                self.take(self.micros_at(tick).saturating_sub(before.into()), cost)
            }
            Step::TakeAtToken(tokens, cost) => self.take(
                self.micros_at(tokens.saturating_mul(self.limit.layout.units(1))),
                cost,
            ),
            Step::Pause(micros, length) => self.pause(micros, length),
            Step::Refund(before) => self.refund_earlier(before),
            Step::RefundLost(ticks) => {
                let lost = State {
                    stamp: self.state.stamp + ticks,
                    ..self.state
                };
                self.refund(lost, 1).map(drop)
            }
        }
    }
}

#[test]
fn scripts_match_the_transitions_of_state() {
    let server = RedisServer::start();
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let compare = |quota: Quota, steps: &[Step], connection: &mut Connection| {
        redis::cmd("DEL").arg(BUCKET).exec(connection).unwrap();
        let state = State { spent: 0, stamp: 0 };
        let mut both = Both {
            limit: ScriptQuota::new(quota, TOLERANCE),
            state,
            charges: Vec::new(),
            incarnation: None,
            paused: false,
            calls: 0,
            connection,
        };
        steps.iter().try_for_each(|step| both.play(step))
    };
    let connection = std::cell::RefCell::new(&mut connection);
    let compared = TestRunner::new(config).run(&(quota(), steps()), |(quota, steps)| {
        compare(quota, &steps, &mut connection.borrow_mut())
    });
    match compared {
        Err(TestError::Fail(why, (quota, steps))) => panic!("{why}\n{quota:?} {steps:#?}"),
        other => other.unwrap(),
    }
}

#[test]
fn newest_restored_settings_win() {
    let server = RedisServer::start();
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let keyspace = Keyspace::new("tollgate".to_owned(), TOLERANCE, None, false);
    let mut versions: Vec<u64> = Vec::new();
    for version in [5, 9, 7] {
        let mut settings = Settings::initial(&keyspace, Quota::per_day(version as u32));
        settings.version = version;
        versions.push(
            settings
                .restore(&keyspace)
                .by_source()
                .query(&mut connection)
                .unwrap(),
        );
    }
    assert_eq!(versions, [5, 9, 9]);
    let fields = redis::cmd("HGETALL")
        .arg(&keyspace.settings)
        .query(&mut connection)
        .unwrap();
    let settings = Settings::read(&keyspace, &fields).unwrap().unwrap();
    assert_eq!(
        (settings.version, settings.default.limit.quota),
        (9, Quota::per_day(9))
    );
}
