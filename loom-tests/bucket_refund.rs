//! Models of refunds that race takes.

use crate::model::{
    Call::{Refund, Take},
    Model, greedy, interval,
};

/// A refund gives the owed units back once, and does not erase a concurrent charge.
///
/// *Caught:* a refund by load and store; giving back all units charged, or the `spent` after the
/// charge minus the time since.
#[test]
fn a_take_races_a_refund() {
    Model::new(greedy(3), &[0, 1])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same property in a window; a refund in the next window gives nothing back.
///
/// *Caught:* a refund by load and store; giving back in any window in which the refund comes.
#[test]
fn a_take_races_a_refund_in_a_window() {
    Model::new(interval(3), &[0, 4])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// Units that have been refilled in the meantime are not given back again.
///
/// *Caught:* a refund by load and store; giving back all units charged.
#[test]
fn a_refund_races_refill() {
    Model::new(greedy(3), &[0, 2, 3])
        .before(&[Take(3)])
        .thread(&[Refund(0), Take(3)])
        .thread(&[Take(2), Take(1)])
        .check();
}

/// Refunds that overtake one another mint nothing: the bound of each refund is independent of the
/// others.
///
/// *Caught:* a refund by load and store; giving back all units charged, or the `spent` after the
/// charge minus the time since.
#[test]
fn overlapping_refunds() {
    let model = Model::new(greedy(3), &[0, 2]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0), Take(2)])
        .thread(&[Take(1), Refund(1)])
        .check();
}

/// The same property with a third thread that takes.
///
/// *Caught:* a refund by load and store; giving back all units charged, or the `spent` after the
/// charge minus the time since.
#[test]
fn overlapping_refunds_race_takes() {
    let model = Model::new(greedy(3), &[0, 2]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0)])
        .thread(&[Refund(1)])
        .thread(&[Take(2), Take(2)])
        .check();
}

/// The same property in a window.
///
/// *Caught:* a refund by load and store; giving back in any window in which the refund comes.
#[test]
fn overlapping_refunds_in_a_window() {
    let model = Model::new(interval(3), &[0, 4]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0), Take(2)])
        .thread(&[Refund(1), Take(2)])
        .check();
}
