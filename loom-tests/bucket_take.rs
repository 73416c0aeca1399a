//! Taking tokens while time moves.

use crate::model::{Call::Take, Model, WINDOW, greedy, interval};

/// Never more than the capacity and what came back, in any window, and no charge is lost.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one; a refusal that writes; a wrapping subtraction for the elapsed time; `now` as the stamp,
/// where the later of the two belongs.
#[test]
fn two_threads_take_while_time_moves() {
    Model::new(greedy(2), &[0, 1, 2])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same with three threads and different costs.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one; a wrapping subtraction; `now` as the stamp.
#[test]
fn three_threads_take_while_time_moves() {
    Model::new(greedy(2), &[0, 1])
        .thread(&[Take(1)])
        .thread(&[Take(2)])
        .thread(&[Take(1)])
        .check();
}

/// Two threads that meet the end of a window open one new window, not two.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one; a window that ends a tick early, or late.
#[test]
fn two_threads_open_a_window() {
    let clock = [0, WINDOW - 1, WINDOW];
    Model::new(interval(2), &clock)
        .before(&[Take(1)])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same with three threads.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one; a refusal that writes.
#[test]
fn three_threads_open_a_window() {
    let clock = [0, WINDOW];
    Model::new(interval(2), &clock)
        .before(&[Take(2)])
        .thread(&[Take(1)])
        .thread(&[Take(2)])
        .thread(&[Take(1)])
        .check();
}

/// A thread reads the clock, is overtaken, and meets a newer stamp: it decides as of that stamp.
///
/// *Caught:* a wrapping subtraction; `now` as the stamp, where the later of the two belongs.
#[test]
fn a_stale_reader_refills_nothing() {
    Model::new(greedy(2), &[0, 9])
        .thread(&[Take(2), Take(1)])
        .thread(&[Take(1), Take(1)])
        .check();
}

/// The same where a window stands for the stamp.
///
/// *Caught:* a wrapping subtraction; a window that begins where the last one ended, not when it is
/// first used.
#[test]
fn a_stale_reader_opens_no_window() {
    Model::new(interval(2), &[0, 9])
        .thread(&[Take(2), Take(1)])
        .thread(&[Take(1), Take(1)])
        .check();
}

/// The clock steps backward: nothing is refilled twice.
///
/// *Caught:* a wrapping subtraction; `now` as the stamp, where the later of the two belongs.
#[test]
fn a_backward_clock_refills_nothing() {
    Model::new(greedy(2), &[5, 3, 6])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same for windows.
///
/// *Caught:* a wrapping subtraction; a window that begins where the last one ended, not when it is
/// first used.
#[test]
fn a_backward_clock_opens_no_window() {
    Model::new(interval(2), &[5, 0, 9])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}
