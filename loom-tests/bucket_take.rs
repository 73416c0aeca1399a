//! Models of takes while time moves.

use crate::model::{Call::Take, Model, WINDOW, greedy, interval};

/// Admissions stay within the capacity and the refill in any time span, and no charge is lost.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word; a refusal that writes; a wrapping subtraction for the elapsed time; `now` as the stamp
/// instead of the later of the two.
#[test]
fn two_threads_take_while_time_moves() {
    Model::new(greedy(2), &[0, 1, 2])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same property with three threads and different costs.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word; a wrapping subtraction; `now` as the stamp.
#[test]
fn three_threads_take_while_time_moves() {
    Model::new(greedy(2), &[0, 1])
        .thread(&[Take(1)])
        .thread(&[Take(2)])
        .thread(&[Take(1)])
        .check();
}

/// Two threads that reach the end of a window open one new window, not two.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word; a window that ends a tick early, or late.
#[test]
fn two_threads_open_one_window() {
    let clock = [0, WINDOW - 1, WINDOW];
    Model::new(interval(2), &clock)
        .before(&[Take(1)])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same property with three threads.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word; a refusal that writes.
#[test]
fn three_threads_open_one_window() {
    let clock = [0, WINDOW];
    Model::new(interval(2), &clock)
        .before(&[Take(2)])
        .thread(&[Take(1)])
        .thread(&[Take(2)])
        .thread(&[Take(1)])
        .check();
}

/// A thread that reads the clock, is preempted, and finds a newer stamp decides as of that stamp.
///
/// *Caught:* a wrapping subtraction; `now` as the stamp instead of the later of the two.
#[test]
fn a_stale_clock_reading_refills_nothing() {
    Model::new(greedy(2), &[0, 9])
        .thread(&[Take(2), Take(1)])
        .thread(&[Take(1), Take(1)])
        .check();
}

/// The same property with a window in place of the stamp.
///
/// *Caught:* a wrapping subtraction; a window that begins at the end of the previous one instead of
/// at its first use.
#[test]
fn a_stale_clock_reading_opens_no_window() {
    Model::new(interval(2), &[0, 9])
        .thread(&[Take(2), Take(1)])
        .thread(&[Take(1), Take(1)])
        .check();
}

/// The clock steps backward: nothing is refilled twice.
///
/// *Caught:* a wrapping subtraction; `now` as the stamp instead of the later of the two.
#[test]
fn a_backward_clock_refills_nothing() {
    Model::new(greedy(2), &[5, 3, 6])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}

/// The same property for windows.
///
/// *Caught:* a wrapping subtraction; a window that begins at the end of the previous one instead of
/// at its first use.
#[test]
fn a_backward_clock_opens_no_window() {
    Model::new(interval(2), &[5, 0, 9])
        .thread(&[Take(1), Take(1)])
        .thread(&[Take(1), Take(2)])
        .check();
}
