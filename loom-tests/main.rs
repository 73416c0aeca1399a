//! Model checks: loom runs each of these programs under every interleaving and every stale read that the memory model allows.
//!
//! `scripts/loom` runs them; without `--cfg tollgate_loom` this target is empty. Time is an atomic that one more thread moves,
//! so that a thread can read it, be overtaken, and go on with what it read. Exploration is bounded: two threads at most three
//! preemptions (in a table two), three threads one or two.
//!
//! A model says what it proves, and under *Caught*, where that was recorded, the ways of breaking the source that it was seen to
//! fail on. Known to be thin: loom remembers one access of an object, so a thread that loads and then stores can hide a race
//! with an earlier reader; the models of a quota replaced under traffic and of refunds beside a reset explore few orders.
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
