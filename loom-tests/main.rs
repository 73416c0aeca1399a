//! Model checks: loom runs each of these programs under every interleaving and every stale read that the memory model allows.
//!
//! `scripts/loom` runs them; without `--cfg tollgate_loom` this target is empty. Time is an atomic that one more thread moves,
//! so that a thread can read it, be overtaken, and go on with what it read. Two threads are explored with at most three
//! preemptions, three threads with two: that is enough for every mutation named here, and it ends.
//!
//! A model says what it proves, and under *Caught* the ways of breaking the source that it was seen to fail on.
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
mod table_insert;
mod table_refund;
mod table_takeover;
