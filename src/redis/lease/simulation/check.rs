//! What must hold, kept apart from what is simulated.

use super::{
    network::Packet,
    world::{Process, Weather, World},
};
use crate::state::{Layout, State};

/// A charge that the ledger has made.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) tick: u64,
    pub(super) tokens: u32,
    /// On lease to this one; or taken one by one, and not given back.
    pub(super) process: Option<usize>,
    /// The bucket was reset since.
    pub(super) void: bool,
}

/// What was admitted, and when.
#[derive(Default)]
pub(super) struct Admitted {
    tokens: u64,
    spent: u64,
    tick: u64,
    /// Leases from before a reset are spent besides.
    was_reset: bool,
}

impl Admitted {
    /// The bucket was made full.
    pub(super) fn reset(&mut self) {
        (self.spent, self.was_reset) = (0, true);
    }

    /// `cost` tokens at time `now`. Time is the true one; the ledger's passes no faster.
    pub(super) fn admit(
        &mut self,
        layout: &Layout,
        most: u32,
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
            let room = windows * capacity;
            return ensure(self.tokens <= room, || {
                format!("{} admitted in {windows} windows", self.tokens)
            });
        }
        // A tick begins somewhere in between, here as in the ledger.
        let slack = layout.position(2);
        let passed = layout.position(tick - self.tick);
        self.spent = self.spent.saturating_sub(passed) + layout.units(cost);
        self.tick = tick;
        let (spent, room) = (self.spent, capacity + layout.units(most) + slack);
        ensure(spent <= room, || {
            format!("the bound: {spent} units in some time, for {room}")
        })?;
        let (all, room) = (
            self.tokens * layout.units(1),
            capacity + layout.position(tick) + slack,
        );
        ensure(all <= room || self.was_reset, || {
            format!("since the beginning: {all} units, for {room}")
        })
    }
}

impl World {
    pub(super) fn check(&self) -> Result<(), String> {
        let most = self.limits.most;
        let out = self.ledger.out(self.server_micros());
        ensure(out <= most, || format!("{out} out on lease, by the ledger"))?;
        let out: u32 = self
            .processes
            .iter()
            .map(|process| process.spendable(self.now))
            .sum();
        ensure(out <= most, || format!("{out} out on lease, in truth"))?;
        for process in self
            .processes
            .iter()
            .filter(|process| process.spendable(self.now) > 0)
        {
            self.check_lease(process)?;
        }
        if self.layout.is_greedy() {
            let (lent, spent) = (
                self.lent(|index| self.usable(index)),
                self.ledger.state.spent,
            );
            ensure(lent <= spent, || {
                format!("{lent} units are lent out, the ledger knows of {spent}")
            })?;
        }
        Ok(())
    }

    /// What a process can spend is out on lease in the ledger, and for longer.
    fn check_lease(&self, process: &Process) -> Result<(), String> {
        let left = process.balance.left();
        let lease = self
            .ledger
            .leases
            .iter()
            .find(|lease| lease.node == process.settings.node);
        let covered = lease.is_some_and(|lease| {
            left.tokens <= lease.tokens
                && process.when(left.expiry) <= self.server_when(lease.expiry)
        });
        ensure(covered, || {
            format!("{left:?} can be spent; the lease: {lease:?}")
        })
    }

    /// When all is quiet: nothing is held any more. Where nobody crashed, the tokens that came
    /// back, and those that did not since the ledger cannot tell every charge from every other.
    pub(super) fn check_quiet(&self, weather: Weather) -> Result<Returned, String> {
        let alive = self.processes.iter().filter(|process| process.alive);
        let held: u32 = alive.map(|process| process.balance.left().tokens).sum();
        ensure(held == 0, || format!("{held} are still held"))?;
        if !matches!(weather, Weather::Calm | Weather::Rough) || !self.layout.is_greedy() {
            return Ok(Returned::default());
        }
        let (lent, spent) = (
            self.lent(|index| self.processes[index].admitted),
            self.ledger.state.spent,
        );
        let lost = (spent - lent).div_ceil(self.layout.units(1));
        let charged = self
            .charges
            .iter()
            .filter(|charge| charge.process.is_some());
        let charged: u64 = charged.map(|charge| u64::from(charge.tokens)).sum();
        let admitted: u64 = self.processes.iter().map(|process| process.admitted).sum();
        self.log(|| format!("{lost} tokens did not come back, of {}", charged - admitted));
        Ok(Returned {
            calm: weather == Weather::Calm,
            all: charged - admitted,
            lost,
        })
    }

    /// Tokens that a process has spent or can still spend: those that were charged last are the
    /// ones it cannot.
    fn usable(&self, index: usize) -> u64 {
        let process = &self.processes[index];
        let granted = self
            .network
            .under_way
            .iter()
            .filter(|sent| sent.process == index)
            .filter_map(|sent| match &sent.packet {
                Packet::Reply { reply, .. } if process.awaits(reply.seq) => {
                    Some(u64::from(reply.granted))
                }
                _ => None,
            });
        process.admitted + process.held(self.now) + granted.max().unwrap_or(0)
    }

    /// What the bucket has lent out by the time of the ledger's stamp, by its whole history, in
    /// units.
    fn lent(&self, usable: impl Fn(usize) -> u64) -> u64 {
        let mut left: Vec<u64> = (0..self.processes.len()).map(usable).collect();
        let (mut spent, mut tick) = (0_u64, 0);
        for charge in &self.charges {
            let tokens = match charge.process {
                None => charge.tokens,
                Some(index) => {
                    let used = left[index].min(u64::from(charge.tokens));
                    left[index] -= used;
                    used as u32
                }
            };
            spent = spent.saturating_sub(self.layout.position(charge.tick - tick))
                + if charge.void {
                    0
                } else {
                    self.layout.units(tokens)
                };
            tick = charge.tick;
        }
        spent.saturating_sub(self.layout.position(self.ledger.state.stamp - tick))
    }
}

impl Process {
    fn spendable(&self, now: u64) -> u32 {
        let left = self.balance.left();
        if self.alive && self.clock(now) < left.expiry {
            left.tokens
        } else {
            0
        }
    }

    /// What it can spend, or could if an answer that is under way made its lease longer.
    fn held(&self, now: u64) -> u64 {
        let (left, awaits) = (self.balance.left(), self.node.awaits_any());
        if self.alive && (awaits || self.clock(now) < left.expiry) {
            u64::from(left.tokens)
        } else {
            0
        }
    }

    fn awaits(&self, seq: u64) -> bool {
        self.alive && self.node.awaits(seq)
    }

    /// A refused request that was sent at `asked`: at most ten in a second.
    pub(super) fn refused(&mut self, asked: u64) -> Result<(), String> {
        self.refusals.push(asked);
        let recent = self
            .refusals
            .iter()
            .rev()
            .take_while(|&&at| asked - at < 1_000_000_000)
            .count();
        ensure(recent <= 10, || {
            format!("{recent} refused requests in a second")
        })
    }
}

/// Tokens that were leased and not spent.
#[derive(Clone, Copy, Default)]
pub(super) struct Returned {
    pub(super) calm: bool,
    pub(super) all: u64,
    /// Those that are still debited.
    pub(super) lost: u64,
}

pub(super) fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}
