//! What it costs when waiters leave: `cargo bench --bench leavers`.
//!
//! Simulated, so the numbers are exact and the same everywhere. Requests of 1 to 5 tokens come to a
//! bucket of 10 tokens that refills 10 a second, half as many again as it can serve; whoever would
//! wait queues, and half of those leave at a random moment before their turn. The table says which
//! share of the tokens was used in the end: by this crate, which sells the place of one who leaves
//! again, and by the same queue where it lapses.

use std::{collections::BTreeMap, time::Duration};

use tollgate::{Bucket, Quota};

const CAPACITY: u64 = 10;
const MILLIS: u64 = 2_000_000;
const PER_TOKEN: u64 = 100;

/// Numerical Recipes' generator: enough for a simulation, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A queue for tokens. A place is what leaving needs to know.
trait Queue {
    type Place;
    /// The place, and how many milliseconds from now it is ready.
    fn join(&mut self, now: u64, cost: u64) -> Option<(Self::Place, u64)>;
    fn leave(&mut self, now: u64, place: Self::Place);
}

struct Ours(Bucket);

impl Queue for Ours {
    type Place = tollgate::Decision;

    fn join(&mut self, now: u64, cost: u64) -> Option<(tollgate::Decision, u64)> {
        let decision = self
            .0
            .reserve_at(Duration::from_millis(now), cost as u32, Duration::MAX)
            .ok()
            .ok()?;
        let wait = decision.wait().as_millis() as u64;
        Some((decision, wait))
    }

    fn leave(&mut self, _now: u64, place: tollgate::Decision) {
        self.0.refund(place).expect("made by this bucket");
    }
}

/// The end of what is sold, in milliseconds of refill: the last one gives back, from the middle
/// everything lapses.
struct Lapsing {
    end: u64,
}

impl Queue for Lapsing {
    type Place = (u64, u64);

    fn join(&mut self, now: u64, cost: u64) -> Option<((u64, u64), u64)> {
        let start = self.end.max(now);
        self.end = start + cost * PER_TOKEN;
        Some((
            (start, self.end),
            self.end.saturating_sub(now + CAPACITY * PER_TOKEN),
        ))
    }

    fn leave(&mut self, _now: u64, (start, end): (u64, u64)) {
        if self.end == end {
            self.end = start;
        }
    }
}

/// The share of the refilled tokens that was used, and of the requests that came in vain.
fn simulate<Q: Queue>(mut queue: Q, leavers_per_cent: u64) -> (f64, u64) {
    let mut random = Random(42);
    let mut leaving: BTreeMap<(u64, u64), Q::Place> = BTreeMap::new();
    let (mut used, mut left) = (0, 0);
    let mut waiting = std::collections::VecDeque::new();
    for (number, now) in (0..MILLIS).step_by(200).enumerate() {
        while let Some(entry) = leaving.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), place) = entry.remove_entry();
            queue.leave(at, place);
        }
        let cost = 1 + random.below(5);
        waiting.retain(|&ready| ready > now);
        // Impatient people do not join a queue of more than 100.
        if waiting.len() > 100 {
            continue;
        }
        let Some((place, wait)) = queue.join(now, cost) else {
            continue;
        };
        if wait > 0 && random.below(100) < leavers_per_cent {
            leaving.insert((now + random.below(wait) + 1, number as u64), place);
            left += 1;
        } else {
            waiting.push_back(now + wait);
            used += cost;
        }
    }
    (used as f64 / (CAPACITY + MILLIS / PER_TOKEN) as f64, left)
}

fn main() {
    println!(
        "| waiters who leave | left | tokens used: place sold again | tokens used: place lapses | ratio |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for per_cent in [0, 10, 25, 50, 75] {
        let ours = Ours(Bucket::new(
            Quota::per_second(10).with_capacity(CAPACITY as u32),
        ));
        let (resold, left) = simulate(ours, per_cent);
        let (lapsed, _) = simulate(Lapsing { end: 0 }, per_cent);
        println!(
            "| {per_cent} % | {left} | {:.1} % | {:.1} % | {:.2} |",
            100.0 * resold,
            100.0 * lapsed,
            resold / lapsed
        );
    }
}
