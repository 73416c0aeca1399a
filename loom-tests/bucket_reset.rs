//! Models of resets that race takes and refunds.

use crate::model::{
    Call::{Refund, Reset, Take},
    Model, greedy, interval,
};

/// A take that races a reset counts before or after it, never in part.
///
/// *Caught:* a reset by load and store; a reset that does not advance the stamp.
#[test]
fn a_take_races_a_reset() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(2)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Reset, Take(1)])
        .check();
}

/// The same property in a window.
///
/// *Caught:* a reset by load and store; a reset that does not advance the stamp; a full bucket that
/// keeps its old window instead of opening one at the next take.
#[test]
fn a_take_races_a_reset_in_a_window() {
    Model::new(interval(2), &[0, 4])
        .before(&[Take(2)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Reset, Take(1)])
        .check();
}

/// A decision made before a reset gives nothing back to the bucket after it.
///
/// *Caught:* a refund that checks once whether its decision is refundable, not for every word it
/// tries, or never; its load of the word, its failed CAS, or the CAS of the reset relaxed.
#[test]
fn a_refund_races_a_reset() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Reset, Take(2), Take(1)])
        .check();
}

/// The same property in a window.
///
/// *Caught:* a reset that does not advance the stamp; a reset, or a refund, by load and store.
#[test]
fn a_refund_races_a_reset_in_a_window() {
    Model::new(interval(2), &[0, 4])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Reset, Take(2), Take(1)])
        .check();
}

/// The same property, where the thread that takes from the full bucket is not the one that resets
/// it.
///
/// *Caught:* a reset that writes the word before the bound on refunds; a refund that checks once
/// whether its decision is refundable, or never; the orderings relaxed, as above.
#[test]
fn a_refund_races_a_reset_and_takes() {
    let model = Model::new(greedy(2), &[0]).before(&[Take(2)]);
    model
        .thread(&[Refund(0)])
        .thread(&[Reset])
        .thread(&[Take(2), Take(1)])
        .check();
}

/// A decision made during a reset is refunded only if the reset did not void it.
///
/// *Caught:* a refund that checks once whether its decision is refundable; the orderings relaxed,
/// as above.
#[test]
fn a_decision_made_during_a_reset_is_refunded() {
    Model::new(greedy(2), &[0, 1])
        .thread(&[Take(2), Refund(0)])
        .thread(&[Reset, Take(1), Take(1)])
        .check();
}

/// Two concurrent resets, with takes and a refund between them; the clock steps backward, and the
/// stamp does not.
///
/// *Caught:* a reset by load and store; a refund that checks once whether its decision is
/// refundable; the orderings relaxed, as above.
#[test]
fn two_resets_race_takes() {
    Model::new(greedy(2), &[5, 3])
        .before(&[Take(2)])
        .thread(&[Reset, Take(2)])
        .thread(&[Reset, Take(2), Refund(2)])
        .check();
}
