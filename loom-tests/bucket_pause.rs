//! Models of pauses and rebases that race takes, reservations and refunds.

use crate::model::{
    Call::{Pause, Rebase, Refund, Reserve, Take},
    Model, greedy, interval,
};

/// A take that races a pause counts before or after it, never in part: after the pause nothing is
/// granted before its end.
///
/// *Caught:* a pause by load and store.
#[test]
fn a_take_races_a_pause() {
    Model::new(greedy(2), &[0, 3])
        .before(&[Take(1)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Pause(2), Take(1)])
        .check();
}

/// The same property in a window.
///
/// *Caught:* a pause by load and store.
#[test]
fn a_take_races_a_pause_in_a_window() {
    Model::new(interval(2), &[0, 9])
        .before(&[Take(1)])
        .thread(&[Take(1), Take(2)])
        .thread(&[Pause(6), Take(1)])
        .check();
}

/// A decision made before a pause gives nothing back to the paused bucket.
///
/// *Caught:* a pause by load and store.
#[test]
fn a_refund_races_a_pause() {
    Model::new(greedy(3), &[0, 3])
        .before(&[Take(3)])
        .thread(&[Refund(0)])
        .thread(&[Pause(2), Take(1)])
        .check();
}

/// The same property in a window, of which nothing is left to grant.
///
/// *Caught:* a pause by load and store.
#[test]
fn a_refund_races_a_pause_in_a_window() {
    Model::new(interval(2), &[0, 4])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Pause(2), Take(1)])
        .check();
}

/// A reservation that races a pause lasts longer than it, or comes after it. One that lasts longer
/// stays sold.
///
/// *Caught:* a pause by load and store; one that forgets reservations.
#[test]
fn a_reservation_races_a_pause() {
    Model::new(greedy(2), &[0, 3])
        .before(&[Take(2)])
        .thread(&[Reserve(2, 9)])
        .thread(&[Pause(1), Take(1)])
        .check();
}

/// A reservation that lasts longer than a pause is given back beside it: nothing is granted before
/// the end of the pause.
///
/// *Caught:* a pause by load and store; a refund that forgets the pause.
#[test]
fn a_refund_of_a_reservation_races_a_pause() {
    Model::new(greedy(2), &[0, 1, 6])
        .before(&[Take(2), Reserve(2, 9)])
        .thread(&[Refund(1)])
        .thread(&[Pause(1), Take(1)])
        .check();
}

/// A bucket that is moved back keeps what was spent, also by a concurrent take.
///
/// *Caught:* a rebase by load and store.
#[test]
fn a_take_races_a_rebase() {
    Model::new(greedy(2), &[5, 2, 3])
        .before(&[Take(1)])
        .thread(&[Take(1), Take(1)])
        .thread(&[Rebase, Take(2)])
        .check();
}

/// A decision made before a rebase gives nothing back to the bucket after it.
///
/// *Caught:* a rebase by load and store.
#[test]
fn a_refund_races_a_rebase() {
    Model::new(greedy(2), &[5, 2, 3])
        .before(&[Take(2)])
        .thread(&[Refund(0)])
        .thread(&[Rebase, Take(1)])
        .check();
}

/// A reservation outlives a rebase; one made after it is not refundable until the clock has caught
/// up.
///
/// *Caught:* a rebase by load and store; one that raises the bound on refunds after the word.
#[test]
fn a_reservation_races_a_rebase() {
    Model::new(greedy(2), &[5, 2])
        .before(&[Take(2)])
        .thread(&[Reserve(2, 9), Refund(1)])
        .thread(&[Rebase, Reserve(1, 9)])
        .check();
}
