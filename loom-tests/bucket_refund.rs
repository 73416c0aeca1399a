//! Giving tokens back while others take.

use crate::model::{
    Call::{Refund, Take},
    Model, greedy, interval,
};

/// A refund gives back what is owed, once, and wipes out no charge made beside it.
///
/// *Caught:* a refund by load and store; giving back all that was charged, or what the charge had
/// left behind it, less the time since.
#[test]
fn a_take_beside_a_refund() {
    Model::new(greedy(3), &[0, 1])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same in a window; refunded in the next one, it gives nothing.
///
/// *Caught:* a refund by load and store; giving back in whatever window the refund comes.
#[test]
fn a_take_beside_a_refund_in_a_window() {
    Model::new(interval(3), &[0, 4])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// What refill has paid back meanwhile is not given again.
///
/// *Caught:* a refund by load and store; giving back all that was charged.
#[test]
fn a_refund_beside_refill() {
    Model::new(greedy(3), &[0, 2, 3])
        .before(&[Take(3)])
        .thread(&[Refund(0), Take(3)])
        .thread(&[Take(2), Take(1)])
        .check();
}

/// Refunds that overtake one another mint nothing: each is bounded by itself, not by what the other
/// left.
///
/// *Caught:* a refund by load and store; giving back all that was charged, or what the charge had
/// left behind it, less the time since.
#[test]
fn overlapping_refunds() {
    let model = Model::new(greedy(3), &[0, 2]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0), Take(2)])
        .thread(&[Take(1), Refund(1)])
        .check();
}

/// The same with a third thread that takes.
///
/// *Caught:* a refund by load and store; giving back all that was charged, or what the charge had
/// left behind it, less the time since.
#[test]
fn overlapping_refunds_beside_takes() {
    let model = Model::new(greedy(3), &[0, 2]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0)])
        .thread(&[Refund(1)])
        .thread(&[Take(2), Take(2)])
        .check();
}

/// The same in a window.
///
/// *Caught:* a refund by load and store; giving back in whatever window the refund comes.
#[test]
fn overlapping_refunds_in_a_window() {
    let model = Model::new(interval(3), &[0, 4]).before(&[Take(1), Take(2)]);
    model
        .thread(&[Refund(0), Take(2)])
        .thread(&[Refund(1), Take(2)])
        .check();
}
