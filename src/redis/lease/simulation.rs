//! Many processes and one ledger, on a network that loses, delays, doubles and reorders, with
//! clocks that disagree: every schedule follows from its seed.
//!
//! `TOLLGATE_SEED=n cargo test --features redis lease::simulation` plays one seed and prints what
//! happened; a failure prints its seed and does the same.
//!
//! What is checked, after every event:
//! - what was admitted, in any time, against the bound of [`lease`](super), and since the beginning
//!   against capacity and refill;
//! - what is out on lease, as the ledger sees it and as the processes could spend it, against the
//!   limit;
//! - the bucket, against a reference that keeps every charge and knows what each process has spent
//!   or still can: the ledger must never think that less is lent out;
//! - of each process, at most ten refused requests a second.
//!
//! And at the end, when the network is well again and nobody asks: every key falls silent after a
//! few messages, nothing is held, and a lifetime and a refill later the bucket is full. Where
//! nobody crashed, the bucket is before that as if only what was spent had ever been taken, but for
//! a hundredth of the unspent tokens where no message was lost, and three where they were.
//!
//! Seen to fail, each on its own. In the ledger: a stale request accepted; a duplicate applied
//! again; the limit not enforced; tokens given back without the rule; the rule without what
//! charges, or what came back to others, tell it; an answer that was used taken for abandoned, and
//! one that was abandoned for used. In the process: expiry counted from the answer's arrival; no
//! margin for clocks; answers to earlier requests used; a lease kept that the ledger had ended;
//! unspent tokens dropped, or sent back for ever; a lost request forgotten; no pause between
//! refused requests. The ledger's own tests see what is too rare here: an ended lease renewed, or
//! revived by a clock that steps back.

mod arrivals;
mod check;
mod network;
pub(super) mod random;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use check::Returned;
use world::World;

const SCHEDULES: u64 = 100_000;
const THREADS: u64 = 2;

#[test]
fn leases_keep_the_bound_whatever_messages_clocks_and_processes_do() {
    if let Ok(seed) = std::env::var("TOLLGATE_SEED") {
        let seed = seed.parse().expect("TOLLGATE_SEED is a number");
        World::new(seed, true)
            .run()
            .expect("the schedule of TOLLGATE_SEED");
        return;
    }
    let (next, calm, rough) = (AtomicU64::new(0), Share::default(), Share::default());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SCHEDULES {
                        break;
                    }
                    let returned = play(seed);
                    if returned.calm { &calm } else { &rough }.add(returned);
                }
            });
        }
    });
    calm.at_most(1);
    rough.at_most(3);
}

/// Of the tokens that were leased and not spent, those that did not come back.
#[derive(Default)]
struct Share {
    all: AtomicU64,
    lost: AtomicU64,
}

impl Share {
    fn add(&self, returned: Returned) {
        self.all.fetch_add(returned.all, Ordering::Relaxed);
        self.lost.fetch_add(returned.lost, Ordering::Relaxed);
    }

    fn at_most(self, percent: u64) {
        let (all, lost) = (self.all.into_inner(), self.lost.into_inner());
        println!("{lost} of {all} unspent tokens did not come back");
        assert!(
            all > SCHEDULES && lost * 100 <= all * percent,
            "{lost} of {all} unspent tokens did not come back"
        );
    }
}

/// Without a trace, which is slow; with one when it fails.
fn play(seed: u64) -> Returned {
    let _named = Named(seed);
    World::new(seed, false).run().unwrap_or_else(|wrong| {
        let _ = World::new(seed, true).run();
        panic!("{wrong}")
    })
}

/// Names the seed when its schedule panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replay with TOLLGATE_SEED={}", self.0);
        }
    }
}
