//! Model checks: loom runs each of these programs under every interleaving and every stale read
//! that the memory model allows.
//!
//! `scripts/loom` runs them; without `--cfg tollgate_loom` this target is empty. Time is an atomic
//! that an additional thread advances, so that a thread can read it, be preempted, and continue
//! with the old value. Exploration is bounded (see [`bound`]): at most two preemptions with two threads
//! (one in a table) and one with three threads in CI, and one more by `scripts/loom --full`.
//!
//! The docs of a model state the property it proves and, under *Caught*, mutations of the source
//! that it was seen to fail on. Every order of whole calls is explored within the bound (see
//! [`call_order`]); within a call loom may skip an interleaving.
//!
//! These mutations are not detected, as far as we know because they break nothing:
//! - *Orderings.* The bounds on refunds raised or read relaxed: the word, which is written after
//!   and read before them, orders them. The number of the generation relaxed: the generation itself
//!   is fetched under a lock. A tag marked busy relaxed, or a claiming CAS that only releases: a
//!   stale word makes the CAS fail.
//! - *An early eviction that raises the bound after the word, but before the new tag is stored*:
//!   until then no thread finds the key.
//!
//! Not modelled: a refund after a pause that changes nothing. A pause raises the bound on refunds before
//! the word. When a charge from after its end comes in between, nothing is left to pause, and
//! decisions from before its end are not refundable although no pause has taken effect: tokens are
//! lost, and none are minted.
//!
//! Not modelled: a word that recurs after a rebase. A rebase moves the stamp back, so a later charge
//! may leave the very word that a refund has read before, and the refund then succeeds after the
//! rebase. It gives back what its charge no longer uses, within the one capacity that each rebase may
//! add.
#![cfg(tollgate_loom)]

mod bound;
mod bucket_pause;
mod bucket_refund;
mod bucket_reserve;
mod bucket_reset;
mod bucket_take;
mod bucket_wait;
mod call_order;
mod compound;
mod history;
mod model;
mod table;
mod table_evict;
mod table_generation;
mod table_insert;
mod table_processes;
mod table_refund;
mod table_takeover;
