//! A quota as the scripts get it: what it means in units and ticks, as doubles.

use crate::{
    quota::Quota,
    state::{Layout, ScaledQuota},
};

/// Binary places in a digit of the scripts' long multiplication.
const DIGIT: u32 = 25;
/// Digits behind the point, and one before it.
const DIGITS: usize = 7;

/// A quota, its layout, and both as the scripts read them.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) quota: Quota,
    pub(super) layout: Layout,
    /// For `struct.unpack('<ddddddddddddd', ...)`.
    pub(super) terms: Vec<u8>,
}

impl Limit {
    pub(super) fn new(quota: Quota) -> Limit {
        let layout = quota.unpacked_layout();
        let ScaledQuota {
            capacity,
            window,
            tick_bits,
            ..
        } = layout.scaled;
        let numbers = [
            layout.units(1) as f64,
            capacity as f64,
            window as f64,
            (1_u64 << tick_bits) as f64,
            tick_nanos(&layout) / 1e6,
            layout.last_tick() as f64,
        ];
        let digits = ticks_per_micro(&layout).map(f64::from);
        let terms = numbers
            .into_iter()
            .chain(digits)
            .flat_map(f64::to_le_bytes)
            .collect();
        Limit {
            quota,
            layout,
            terms,
        }
    }
}

/// How long a tick is, rounded by much less than the script adds.
fn tick_nanos(layout: &Layout) -> f64 {
    let (whole, fraction) = layout.ticks_per_nano();
    1.0 / (whole as f64 + fraction as f64 / 2_f64.powi(128))
}

/// The lowest digit first, six of them behind the point.
fn ticks_per_micro(layout: &Layout) -> [u32; DIGITS] {
    let (whole, fraction) = layout.ticks_per_nano();
    let low = u128::from(fraction as u64) * 1000;
    let high = (fraction >> 64) * 1000 + (low >> 64);
    // Four words, the lowest first; the upper two are in front of the point.
    let words = [low as u64, high as u64, whole * 1000 + (high >> 64) as u64];
    // 6 * 25 places behind the point, where the words have 128.
    let below = DIGIT * (DIGITS as u32 - 1) - 128;
    std::array::from_fn(|digit| {
        (0..DIGIT).rev().fold(0, |value, place| {
            let place = (digit as u32 * DIGIT + place).checked_sub(below);
            value << 1 | place.map_or(0, |place| bit(&words, place))
        })
    })
}

fn bit(words: &[u64], place: u32) -> u32 {
    let word = words.get(place as usize / 64).copied().unwrap_or(0);
    (word >> (place % 64) & 1) as u32
}
