//! No slot is free: the bucket closest to full is forgotten, early.

use crate::{
    model::{
        Call::{Refund, Take},
        greedy,
    },
    table::{FILLER_CALLS, Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const NEWCOMER: Key = key(2, 0, 0, 0);
const FAR: Key = key(3, 1, 0, 0);
/// Like it, but not of the group whose bound is raised when one of the others is forgotten.
const APART: Key = key(4, 1, 0, 1);
const FILLERS: [Key; 3] = [key(7, 1, 0, 0), key(8, 1, 1, 0), key(9, 0, 1, 0)];

/// The key in slot 0, close to full; all others far from it.
fn saturated(clock: &[u64]) -> TableModel {
    around_the_key(TableModel::new(greedy(3), clock), 2)
}

/// The same, with a charge so large that to undo it is worth something two evictions, each a tick,
/// later.
fn forgotten_early() -> TableModel {
    around_the_key(TableModel::new(greedy(5), &[0]), 4).evictions(2)
}

fn around_the_key(model: TableModel, cost: u32) -> TableModel {
    let [first, second, third] = FILLERS;
    model
        .filler(first)
        .before(0, KEY, Take(cost))
        .filler(second)
        .filler(third)
}

/// Its owner takes at the same time: counted is what was forgotten, and nothing else is lost.
///
/// *Caught:* a plain store in place of the claiming swap, or of a decision's; the claiming swap, or
/// the load of the word, relaxed; no tag marked busy; the tag not confirmed; the new tag set though
/// the claim failed; an eviction that is not counted.
#[test]
fn an_eviction_while_the_key_takes() {
    saturated(&[0])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// The same while time moves and the bucket fills.
///
/// *Caught:* the same.
#[test]
fn an_eviction_while_time_moves() {
    saturated(&[0, 2])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(3))])
        .thread(&[(KEY, Take(2))])
        .check();
}

/// Two newcomers under different latches.
///
/// *Caught:* no tag marked busy; an eviction that is not counted.
#[test]
fn two_evictions() {
    saturated(&[0])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(FAR, Take(2))])
        .check();
}

/// A decision on the bucket that was forgotten gives nothing to the one the key has when it
/// returns, nor to the newcomer's.
///
/// *Caught:* the bound on refunds not raised; asked about only once; the claiming swap, or the load
/// of the word, relaxed.
#[test]
fn a_refund_beside_an_eviction() {
    forgotten_early()
        .thread(&[(NEWCOMER, Take(5)), (KEY, Take(5)), (KEY, Take(2))])
        .thread(&[(KEY, Refund(FILLER_CALLS))])
        .check();
}

/// The same with the key back while the newcomer, under another latch, is still at it.
///
/// *Caught:* the bound on refunds not raised, or raised after the new tag is there; that tag set
/// before the word; the claiming swap, or the load of the word, relaxed.
#[test]
fn a_refund_by_who_returns_beside_an_eviction() {
    forgotten_early()
        .thread(&[(APART, Take(5))])
        .thread(&[(KEY, Take(5)), (KEY, Refund(FILLER_CALLS)), (KEY, Take(2))])
        .check();
}

/// Who finds a newcomer's tag finds his word, not that of the one who was forgotten.
///
/// *Caught:* the new tag stored relaxed, or before the word is claimed; the search for a tag
/// relaxed; a relaxed latch.
#[test]
fn a_newcomer_from_two_threads() {
    saturated(&[0])
        .evictions(1)
        .thread(&[(NEWCOMER, Take(2))])
        .thread(&[(NEWCOMER, Take(2))])
        .check();
}

/// A table that refuses newcomers forgets nobody.
///
/// *Caught:* a plain store in place of a decision's swap; a refusal that is not counted.
#[test]
fn a_newcomer_is_refused() {
    saturated(&[0, 2])
        .refuse_newcomers()
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(KEY, Take(1)), (KEY, Take(2))])
        .check();
}
