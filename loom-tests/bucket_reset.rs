//! Filling the bucket while others take from it and give back.

use crate::model::{
    Call::{Refund, Reset, Take},
    Model, greedy, interval,
};

/// A take beside a reset counts before it or after it, never half.
///
/// *Caught:* a reset by load and store; a reset that does not move the stamp.
#[test]
fn a_take_beside_a_reset() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(2)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Reset, Take(1)])
        .check();
}

/// The same in a window.
///
/// *Caught:* a reset by load and store; a reset that does not move the stamp; a full bucket whose
/// window runs on, in place of one that begins with what is taken next.
#[test]
fn a_take_beside_a_reset_in_a_window() {
    Model::new(interval(2), &[0, 4])
        .before(&[Take(2)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Reset, Take(1)])
        .check();
}

/// A decision from before the reset gives nothing to the bucket after it.
///
/// *Caught:* a refund that asks whether its decision counts once, not for every word it tries; or
/// never; its load of the word, its failed swap, or the swap of the reset relaxed.
#[test]
fn a_refund_beside_a_reset() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Reset, Take(2), Take(1)])
        .check();
}

/// The same in a window.
///
/// *Caught:* a reset that does not move the stamp; a reset, or a refund, by load and store.
#[test]
fn a_refund_beside_a_reset_in_a_window() {
    Model::new(interval(2), &[0, 4])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Reset, Take(2), Take(1)])
        .check();
}

/// The same with the one who takes from the new bucket apart from the one who resets.
///
/// *Caught:* a reset that writes the word before the bound on refunds; a refund that asks once
/// whether its decision counts, or never; the orderings relaxed, as above.
#[test]
fn a_refund_beside_a_reset_and_takes() {
    let model = Model::new(greedy(2), &[0]).before(&[Take(2)]);
    model
        .thread(&[Refund(0)])
        .thread(&[Reset])
        .thread(&[Take(2), Take(1)])
        .check();
}

/// A decision made while the reset is under way is refunded only if the reset did not wipe it out.
///
/// *Caught:* a refund that asks once whether its decision counts; the orderings relaxed, as above.
#[test]
fn a_decision_made_beside_a_reset_is_refunded() {
    Model::new(greedy(2), &[0, 1])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Reset, Take(1), Take(1)])
        .check();
}

/// Two resets at once, with takes and a refund between them; the clock steps backward, and the
/// stamp does not.
///
/// *Caught:* a reset by load and store; a refund that asks once whether its decision counts; the
/// orderings relaxed, as above.
#[test]
fn two_resets_beside_takes() {
    Model::new(greedy(2), &[5, 3])
        .before(&[Take(2)])
        .thread(&[Reset, Take(2)])
        .thread(&[Reset, Take(2), Refund(2)])
        .check();
}
