//! Simulation of many processes and one server, on a network that loses, delays, duplicates and
//! reorders messages, with clocks that disagree. A schedule is determined by its seed.
//!
//! `TOLLGATE_SEED=n cargo test --features redis lease::reference::simulation` runs one seed and
//! prints its events. A failing test prints its seed and its events.
//!
//! Checked after every event:
//! - the tokens admitted in any interval, against the bound of [`lease`](crate::redis::lease), and
//!   those admitted since the beginning, against capacity and refill;
//! - the tokens out on lease, as recorded by the server and as spendable by the processes, against
//!   the limit;
//! - the bucket, against a reference that stores every charge and knows how many tokens each
//!   process has spent or can still spend: the server must never record fewer tokens as spent;
//! - the refused requests of each process: at most ten per second.
//!
//! Checked at the end, when the network is reliable and no caller takes tokens: every key sends
//! only a few more messages, no tokens are held, and after a lifetime and a refill the bucket is
//! full. If no process crashed, the bucket is, before that refill, as if only the spent tokens had
//! ever been taken. At most one percent of the unspent tokens may be missing if no message was
//! lost, and three percent otherwise.
//!
//! Mutations that fail, each applied alone. In the server: a stale request accepted; a duplicate
//! applied again; the limit not enforced; tokens credited without the rule; the rule without the
//! updates by charges, or by credits for other leases; a used reply treated as abandoned, and an
//! abandoned reply treated as used. In the holder: expiry counted from the arrival of the reply; no
//! margin for clocks; replies to earlier requests used; a lease kept that had ended on the server;
//! unspent tokens dropped, or returned forever; a lost request not followed up; no pause between refused
//! requests. The tests of `leased_bucket` cover mutations that fail too rarely here: an ended lease
//! renewed, or revived by a clock that steps back.

mod invariants;
mod network;
mod process;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use invariants::Unspent;
use world::World;

const SCHEDULES: u64 = 100_000;
const THREADS: u64 = 2;

#[test]
fn leases_keep_the_bound_under_all_faults() {
    if let Ok(seed) = std::env::var("TOLLGATE_SEED") {
        let seed = seed.parse().expect("TOLLGATE_SEED: expected a number");
        World::new(seed, true)
            .run()
            .expect("the schedule of TOLLGATE_SEED");
        return;
    }
    let next = AtomicU64::new(0);
    let (reliable, lossy) = (LostShare::default(), LostShare::default());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SCHEDULES {
                        break;
                    }
                    let unspent = run_seed(seed);
                    if unspent.reliable { &reliable } else { &lossy }.add(unspent);
                }
            });
        }
    });
    reliable.assert_at_most(1);
    lossy.assert_at_most(3);
}

/// Share of the unspent tokens that were not credited.
#[derive(Default)]
struct LostShare {
    total: AtomicU64,
    lost: AtomicU64,
}

impl LostShare {
    fn add(&self, unspent: Unspent) {
        self.total.fetch_add(unspent.total, Ordering::Relaxed);
        self.lost.fetch_add(unspent.lost, Ordering::Relaxed);
    }

    fn assert_at_most(self, percent: u64) {
        let (total, lost) = (self.total.into_inner(), self.lost.into_inner());
        println!("{lost} of {total} unspent tokens were not credited");
        assert!(
            total > SCHEDULES && lost * 100 <= total * percent,
            "{lost} of {total} unspent tokens were not credited"
        );
    }
}

/// Runs a seed without a trace, which is slow, and again with a trace if it fails.
fn run_seed(seed: u64) -> Unspent {
    let _on_panic = PrintSeedOnPanic(seed);
    World::new(seed, false).run().unwrap_or_else(|error| {
        let _ = World::new(seed, true).run();
        panic!("{error}")
    })
}

/// Drop guard that prints the seed if its schedule panics.
struct PrintSeedOnPanic(u64);

impl Drop for PrintSeedOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replay with TOLLGATE_SEED={}", self.0);
        }
    }
}
