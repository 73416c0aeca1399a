use std::time::Duration;

use super::{Layout, State};
use crate::quota::Quota;

fn extremes() -> Vec<Quota> {
    let century = Duration::from_secs(36_525 * 86_400);
    let mut quotas = Vec::new();
    for capacity in [1, 2, 10, 1000, 1 << 20, u32::MAX] {
        for (tokens, period) in [
            (1, century),
            (1, Duration::from_secs(1)),
            (1_000_000_000, Duration::from_secs(1)),
        ] {
            quotas.push(Quota::new(capacity, tokens, period).unwrap());
            quotas.push(
                Quota::new(capacity, tokens, period)
                    .unwrap()
                    .try_with_debt(0)
                    .unwrap(),
            );
        }
        for window in [Duration::from_secs(5), Duration::from_secs(3600), century] {
            quotas.push(Quota::try_interval(capacity, window).unwrap());
        }
    }
    quotas
}

#[test]
fn a_word_round_trips_at_its_edges() {
    for quota in extremes() {
        let layout = Layout::of(&quota);
        for spent in [0, 1, layout.capacity, layout.limit] {
            for stamp in [0, 1, layout.last_tick(), layout.max_stamp] {
                let state = State { spent, stamp };
                assert_eq!(layout.unpack(layout.pack(state)), state, "{quota}");
            }
        }
        assert_eq!(layout.unpack(0), State { spent: 0, stamp: 0 });
    }
}

#[test]
fn stamps_reach_the_horizon_and_stop_there() {
    for quota in extremes() {
        let layout = Layout::of(&quota);
        assert!(layout.last_tick() <= layout.max_stamp, "{quota}");
        assert_eq!(layout.tick(u64::MAX), layout.last_tick(), "{quota}");
    }
}

#[test]
fn a_tick_comes_at_the_nanosecond_it_was_promised() {
    for quota in extremes() {
        let layout = Layout::of(&quota);
        for tick in [
            1,
            2,
            3,
            1000,
            1 << 20,
            layout.last_tick() / 3,
            layout.last_tick(),
        ] {
            if tick <= layout.last_tick() {
                let nanos = layout.nanos_at(tick).unwrap();
                assert!(layout.tick(nanos) >= tick, "{quota}: tick {tick}");
                assert!(layout.tick(nanos - 1) < tick, "{quota}: tick {tick}");
            }
        }
        assert_eq!(layout.nanos_at(layout.last_tick() + 1), None, "{quota}");
    }
}
