//! Invariants on the tokens admitted and debited, computed from the history instead of from the
//! simulated state.

use crate::state::{Layout, State};

/// Charge made by the server.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) tick: u64,
    pub(super) tokens: u32,
    /// Process that leased the tokens. `None`: they were taken from the bucket itself, and not
    /// refunded.
    pub(super) process: Option<usize>,
    /// Whether the bucket was reset since.
    pub(super) void: bool,
}

/// Returns the units spent from the bucket at the tick `stamp`, according to its whole history.
/// `usable` is the number of tokens that each process has spent or can still spend: of the tokens
/// charged for a process, the last charged are the ones that it cannot spend.
pub(super) fn spent_by_history(
    layout: &Layout,
    charges: &[Charge],
    stamp: u64,
    mut usable: Vec<u64>,
) -> u64 {
    let (mut spent, mut tick) = (0_u64, 0);
    for charge in charges {
        let tokens = match charge.process {
            None => charge.tokens,
            Some(index) => {
                let used = usable[index].min(u64::from(charge.tokens));
                usable[index] -= used;
                used as u32
            }
        };
        spent = spent.saturating_sub(layout.position(charge.tick - tick))
            + if charge.void { 0 } else { layout.units(tokens) };
        tick = charge.tick;
    }
    spent.saturating_sub(layout.position(stamp - tick))
}

/// Admitted tokens, checked against the bound.
#[derive(Default)]
pub(super) struct Admitted {
    tokens: u64,
    spent: u64,
    tick: u64,
    /// Whether the bucket was reset: leases from before the reset are spent in addition.
    was_reset: bool,
}

impl Admitted {
    /// Records that the bucket was filled.
    pub(super) fn reset(&mut self) {
        (self.spent, self.was_reset) = (0, true);
    }

    /// Admits `cost` tokens at `now`, and checks the bound. Time is the true time; the server's
    /// clock runs no faster.
    pub(super) fn admit(
        &mut self,
        layout: &Layout,
        max_leased: u32,
        now: u64,
        cost: u32,
    ) -> Result<(), String> {
        self.tokens += u64::from(cost);
        let (tick, capacity) = (layout.tick(now), layout.units(layout.capacity_tokens()));
        if !layout.is_greedy() {
            if self.was_reset {
                return Ok(());
            }
            let windows = 1 + tick / layout.full_at(State { spent: 1, stamp: 0 });
            let bound = windows * capacity;
            return ensure(self.tokens <= bound, || {
                format!("{} tokens admitted in {windows} windows", self.tokens)
            });
        }
        // An event falls within a tick, here and on the server: each side rounds by up to one tick.
        let slack = layout.position(2);
        let passed = layout.position(tick - self.tick);
        self.spent = self.spent.saturating_sub(passed) + layout.units(cost);
        self.tick = tick;
        let (spent, bound) = (self.spent, capacity + layout.units(max_leased) + slack);
        ensure(spent <= bound, || {
            format!("bound exceeded: {spent} units in some interval, at most {bound}")
        })?;
        let (total, bound) = (
            self.tokens * layout.units(1),
            capacity + layout.position(tick) + slack,
        );
        ensure(total <= bound || self.was_reset, || {
            format!("bound exceeded: {total} units since the beginning, at most {bound}")
        })
    }
}

/// Tokens that were leased and not spent, at the end of a schedule.
#[derive(Clone, Copy, Default)]
pub(super) struct Unspent {
    pub(super) reliable: bool,
    pub(super) total: u64,
    /// Tokens that are still debited.
    pub(super) lost: u64,
}

pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}
