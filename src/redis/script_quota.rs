//! Quota in the form that the scripts read: units and ticks as doubles.

use std::time::Duration;

use crate::{
    duration::saturating_nanos,
    quota::Quota,
    state::{Layout, ScaledQuota},
};

/// Bits per digit of the scripts' long multiplication.
const DIGIT_BITS: u32 = 25;
/// Digits in total: one integer digit and six fractional ones.
const DIGITS: usize = 7;

/// Quota, its layout, and both packed as a script argument.
#[derive(Clone, Debug)]
pub(super) struct ScriptQuota {
    pub(super) quota: Quota,
    pub(super) layout: Layout,
    /// Argument for `struct.unpack('<dddddddddddddd', ...)`.
    pub(super) packed: Vec<u8>,
}

impl ScriptQuota {
    /// Packs a quota. A stamp that is more than `tolerance` ahead of the server's clock is rebased.
    pub(super) fn new(quota: Quota, tolerance: Duration) -> ScriptQuota {
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
            layout.tick(saturating_nanos(tolerance)) as f64,
        ];
        let digits = ticks_per_micro(&layout).map(f64::from);
        let packed = numbers
            .into_iter()
            .chain(digits)
            .flat_map(f64::to_le_bytes)
            .collect();
        ScriptQuota {
            quota,
            layout,
            packed,
        }
    }
}

/// Length of a tick. The rounding error is much smaller than the margin that the script adds.
fn tick_nanos(layout: &Layout) -> f64 {
    let (whole, fraction) = layout.ticks_per_nano();
    1.0 / (whole as f64 + fraction as f64 / 2_f64.powi(128))
}

/// Ticks per microsecond in digits of 25 bits, the lowest first, six of them fractional.
fn ticks_per_micro(layout: &Layout) -> [u32; DIGITS] {
    let (whole, fraction) = layout.ticks_per_nano();
    let low = u128::from(fraction as u64) * 1000;
    let high = (fraction >> 64) * 1000 + (low >> 64);
    // The lowest word first. 128 of the bits are fractional; the rest is the integer part.
    let words = [low as u64, high as u64, whole * 1000 + (high >> 64) as u64];
    // The digits have 6 * 25 fractional bits where the words have 128.
    let offset = DIGIT_BITS * (DIGITS as u32 - 1) - 128;
    std::array::from_fn(|digit| {
        (0..DIGIT_BITS).rev().fold(0, |value, place| {
            let place = (digit as u32 * DIGIT_BITS + place).checked_sub(offset);
            value << 1 | place.map_or(0, |place| bit(&words, place))
        })
    })
}

fn bit(words: &[u64], place: u32) -> u32 {
    let word = words.get(place as usize / 64).copied().unwrap_or(0);
    (word >> (place % 64) & 1) as u32
}
