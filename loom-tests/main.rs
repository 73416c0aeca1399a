//! Model checks: loom runs each of these programs under every interleaving and every stale read
//! that the memory model allows.
//!
//! `scripts/loom` runs them; without `--cfg tollgate_loom` this target is empty. Time is an atomic
//! that one more thread moves, so that a thread can read it, be overtaken, and go on with what it
//! read. Exploration is bounded: two threads at most three preemptions (in a table two), three
//! threads one or two.
//!
//! A model says what it proves, and under *Caught* ways of breaking the source that it was seen to
//! fail on. Every order of whole calls is tried within that bound (see [`turn`]); within a call
//! loom may pass over one.
//!
//! These ways of breaking the source are not seen, as far as we know because they break nothing:
//! - *Orderings.* The bounds on refunds raised or read relaxed: the word, written after and read
//!   before, orders them. The number of the generation relaxed: what it stands for is fetched under
//!   a lock. A tag marked busy relaxed, or a claiming swap that only releases: a stale word makes
//!   the swap fail.
//! - *An early eviction that raises the bound after the word, but before the new tag is there*:
//!   until then nobody finds the key.
//! - *A sale of a hole that reads the word and does not swap it, or asks once whether a reset made
//!   the hole void*: it may count as made when it read.
//! - *One of the checks where a hole lies, without the other; a sale from a queue shorter than the
//!   hole's end*, which only a reset leaves: each is a second line behind another, and without both
//!   a model fails. A hole kept in the place of another: that one lapses.
#![cfg(tollgate_loom)]

mod bucket_holes;
mod bucket_refund;
mod bucket_reserve;
mod bucket_reset;
mod bucket_take;
mod history;
mod model;
mod table;
mod table_evict;
mod table_generation;
mod table_insert;
mod table_refund;
mod table_takeover;
mod turn;
