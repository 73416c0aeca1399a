use super::{Layout, LayoutParams, State};

const SECOND: u64 = 1_000_000_000;
const CENTURY: u64 = 36_525 * 86_400 * SECOND;

/// Layout parameters at the bounds of capacity, rate and window, with and without debt.
fn extremes() -> Vec<LayoutParams> {
    let mut extremes = Vec::new();
    for capacity in [1, 2, 10, 1000, 1 << 20, u32::MAX] {
        for (tokens, period_nanos) in [(1, CENTURY), (1, SECOND), (1_000_000_000, SECOND)] {
            for debt in [capacity, 0] {
                extremes.push(LayoutParams {
                    capacity,
                    debt,
                    tokens,
                    period_nanos,
                    is_interval: false,
                });
            }
        }
        for period_nanos in [5 * SECOND, 3600 * SECOND, CENTURY] {
            extremes.push(LayoutParams {
                capacity,
                debt: capacity,
                tokens: capacity.into(),
                period_nanos,
                is_interval: true,
            });
        }
    }
    extremes
}

#[test]
fn words_round_trip_at_the_bounds() {
    for params in extremes() {
        let layout = Layout::packed(&params);
        for spent in [0, 1, layout.capacity, layout.limit] {
            for stamp in [0, 1, layout.last_tick(), layout.max_stamp] {
                let state = State { spent, stamp };
                assert_eq!(layout.unpack(layout.pack(state)), state, "{params:?}");
            }
        }
        assert_eq!(layout.unpack(0), State { spent: 0, stamp: 0 });
    }
}

#[test]
fn stamps_reach_the_horizon_and_stop_there() {
    for params in extremes() {
        let layout = Layout::packed(&params);
        assert!(layout.last_tick() <= layout.max_stamp, "{params:?}");
        assert_eq!(layout.tick(u64::MAX), layout.last_tick(), "{params:?}");
    }
}

#[test]
fn nanos_at_is_the_first_nanosecond_of_a_tick() {
    for params in extremes() {
        let layout = Layout::packed(&params);
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
                assert!(layout.tick(nanos) >= tick, "{params:?}: tick {tick}");
                assert!(layout.tick(nanos - 1) < tick, "{params:?}: tick {tick}");
            }
        }
        assert_eq!(layout.nanos_at(layout.last_tick() + 1), None, "{params:?}");
    }
}
