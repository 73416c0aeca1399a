//! How a quota divides the word.

use core::ops::Deref;

use super::{
    State,
    scale::{HORIZON_NANOS, Scale},
    terms::Terms,
};
use crate::quota::Quota;

/// The widths and scales that follow from a quota.
///
/// With `c` = capacity + debt tokens to tell apart, `rate` and a horizon of 2³⁰ s, the word must
/// hold `c << f` units and `2³⁰ s * rate << f` ticks. `f` is the largest number for which both fit
/// 64 bits; when not even 0 does, ticks are made coarser by 2ᵏ instead. The stamp gets what `spent`
/// leaves over. So a stamp cannot wrap within the horizon, and behind it time stands still. 10
/// tokens at 1/s, with the default debt of 1000: f = 12, a tick of 244 µs. 10⁶ at 10⁶/s: a tick is
/// 128 tokens and 128 µs.
///
/// Of an interval quota, units are tokens, and a tick is the smallest fraction of the window for
/// which the stamp fits.
///
/// The fields that the everyday decision reads come first, in one cache line. They are numbers to
/// add to a word or to compare it with, so that it need not be taken apart: see [`Layout::take`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Layout {
    scale: Scale,
    /// The bits of the stamp, all set: the last stamp there is.
    pub(super) max_stamp: u64,
    /// What a tick that passes takes off a word of a greedy quota: 2ᵏ units of `spent`, less one of
    /// `stamp`.
    pub(super) passing: u64,
    /// What a token adds to a word.
    pub(super) token: u64,
    /// The largest word of an exhausted bucket.
    pub(super) exhausted: u64,
    /// The capacity in tokens, of a greedy quota; 0 of an interval quota.
    pub(super) greedy_tokens: u32,
    stamp_bits: u8,
    pub(crate) terms: Terms,
}

impl Layout {
    pub(crate) const fn of(quota: &Quota) -> Layout {
        let most = quota.capacity() as u64 + quota.debt() as u64;
        let room = Room::Word {
            spent_bits: bits(most as u128),
        };
        if quota.is_interval() {
            Layout::interval(quota, most, room)
        } else {
            Layout::greedy(quota, most, room)
        }
    }

    /// For a state that is kept as two numbers of 52 bits each, and never packed: what computes in
    /// floating point, as Redis' Lua does, is exact then. Nobody waits for such a bucket, so there
    /// is no debt.
    pub(crate) const fn apart(quota: &Quota) -> Layout {
        let most = quota.capacity() as u64;
        if quota.is_interval() {
            Layout::interval(quota, most, Room::Apart)
        } else {
            Layout::greedy(quota, most, Room::Apart)
        }
    }

    const fn greedy(quota: &Quota, most: u64, room: Room) -> Layout {
        let (tokens, nanos) = (quota.tokens() as u128, quota.period_nanos() as u128);
        let spent_bits = bits(most as u128);
        let (mut f, mut k) = (0, 0);
        // 32 is more than any quota reaches: one token a century of capacity 1 stops there.
        while f < 32
            && room.fits(spent_bits + f + 1)
            && bits(in_horizon(tokens << (f + 1), nanos)) <= room.stamp_bits(f + 1)
        {
            f += 1;
        }
        while f == 0 && bits(in_horizon(tokens, nanos) >> k) > room.stamp_bits(0) {
            k += 1;
        }
        let layout = Layout::greedy_with(quota, most, room, f, k);
        if layout.last_tick() <= layout.max_stamp {
            return layout;
        }
        // The scale is rounded up, which may pass the last stamp by one.
        let (f, k) = if f > 0 { (f - 1, 0) } else { (0, k + 1) };
        Layout::greedy_with(quota, most, room, f, k)
    }

    const fn greedy_with(quota: &Quota, most: u64, room: Room, f: u32, k: u32) -> Layout {
        let stamp_bits = room.stamp_bits(f);
        let max_stamp = (1 << stamp_bits) - 1;
        let capacity = (quota.capacity() as u64) << f;
        let packed = room.is_word();
        Layout {
            scale: Scale::new(
                (quota.tokens() as u128) << f,
                (quota.period_nanos() as u128) << k,
            ),
            max_stamp,
            // k is 4 bits short of those of `spent`, so this is no shift by 64.
            passing: if packed {
                (1 << (stamp_bits + k)) - 1
            } else {
                0
            },
            token: if packed { 1 << (stamp_bits + f) } else { 0 },
            exhausted: if packed {
                capacity << stamp_bits | max_stamp
            } else {
                0
            },
            greedy_tokens: if packed { quota.capacity() } else { 0 },
            stamp_bits: stamp_bits as u8,
            terms: Terms {
                capacity,
                window: 0,
                limit: most << f,
                refill: quota.tokens() << f,
                nanos: quota.period_nanos(),
                unit_bits: f as u8,
                tick_bits: k as u8,
            },
        }
    }

    const fn interval(quota: &Quota, most: u64, room: Room) -> Layout {
        let stamp_bits = room.stamp_bits(0);
        let nanos_per_tick_bits = 60_u32.saturating_sub(stamp_bits);
        // A debt so large that not even one tick fits a window makes the window longer.
        // `Quota::try_with_debt` refuses it, since the tick is then longer than a quarter of the window
        // that was asked for.
        let least = 1 << nanos_per_tick_bits;
        let window_nanos = if quota.period_nanos() < least {
            least
        } else {
            quota.period_nanos()
        };
        // Whole ticks in a window, so that a window ends on one.
        let window = window_nanos >> nanos_per_tick_bits;
        let max_stamp = (1 << stamp_bits) - 1;
        let capacity = quota.capacity() as u64;
        Layout {
            scale: Scale::new(window as u128, window_nanos as u128),
            max_stamp,
            passing: 0,
            token: if room.is_word() { 1 << stamp_bits } else { 0 },
            exhausted: if room.is_word() {
                capacity << stamp_bits | max_stamp
            } else {
                0
            },
            greedy_tokens: 0,
            stamp_bits: stamp_bits as u8,
            terms: Terms {
                capacity,
                window,
                limit: most,
                refill: window,
                nanos: window_nanos,
                unit_bits: 0,
                tick_bits: 0,
            },
        }
    }

    #[inline]
    pub(crate) const fn unpack(&self, word: u64) -> State {
        State {
            spent: word >> self.stamp_bits,
            stamp: word & self.max_stamp,
        }
    }

    #[inline]
    pub(crate) fn pack(&self, state: State) -> u64 {
        debug_assert!(state.spent <= self.limit && state.stamp <= self.max_stamp);
        state.spent << self.stamp_bits | state.stamp
    }

    /// The tick at `nanos` since the origin.
    #[inline]
    pub(crate) const fn tick(&self, nanos: u64) -> u64 {
        self.scale.ticks(nanos)
    }

    /// Ticks in a nanosecond: a whole number, and a fraction in units of 2⁻¹²⁸.
    pub(crate) const fn ticks_per_nano(&self) -> (u64, u128) {
        self.scale.parts()
    }

    /// The last tick there is.
    pub(crate) const fn last_tick(&self) -> u64 {
        self.tick(HORIZON_NANOS)
    }
}

/// How much room there is.
#[derive(Clone, Copy)]
enum Room {
    /// 64 bits together, and so many of them for `spent` in tokens.
    Word { spent_bits: u32 },
    /// [`APART_BITS`] for each.
    Apart,
}

/// A double has 53 bits; one of them is left for sums.
const APART_BITS: u32 = 52;

impl Room {
    const fn is_word(self) -> bool {
        matches!(self, Room::Word { .. })
    }

    /// Whether so many bits for `spent` leave any for the stamp.
    const fn fits(self, spent_bits: u32) -> bool {
        match self {
            Room::Word { .. } => spent_bits < 64,
            Room::Apart => spent_bits <= APART_BITS,
        }
    }

    /// What is left for the stamp when a token is 2ᶠ units.
    const fn stamp_bits(self, f: u32) -> u32 {
        match self {
            Room::Word { spent_bits } => 64 - spent_bits - f,
            Room::Apart => APART_BITS,
        }
    }
}

/// A layout is its terms, and how they are packed.
impl Deref for Layout {
    type Target = Terms;

    #[inline(always)]
    fn deref(&self) -> &Terms {
        &self.terms
    }
}

const fn bits(number: u128) -> u32 {
    128 - number.leading_zeros()
}

/// How many of `units` per `nanos` the horizon has, whole ones. Both are below 2⁹⁴, and there are
/// fewer than 2³³ units a nanosecond; taking the whole part and the rest apart keeps the products
/// within 128 bits for periods of up to a century.
const fn in_horizon(units: u128, nanos: u128) -> u128 {
    let horizon = HORIZON_NANOS as u128;
    (units / nanos) * horizon + (units % nanos) * horizon / nanos
}
