//! Processes, the server, and what happens to them.

mod ending;

use super::{
    check::{Admitted, Charge, Returned, ensure},
    network::{Network, Packet, Sent},
    random::Random,
};
use crate::{
    quota::Quota,
    redis::lease::{Answer, Ask, Balance, Ledger, Limits, Node, Settings, Step, tick},
    state::{Layout, State},
};

const MILLI: u64 = 1_000_000;
/// Events of a schedule.
const LENGTH: u64 = 48;
/// Where the server's clock begins, in microseconds: far enough from zero to step back.
const BEGIN: u64 = 1_000_000_000;

/// What a schedule may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// No message lost, late or overtaken, no crash, no clock that steps.
    Calm,
    /// Messages lost, late and overtaken.
    Rough,
    /// All of it.
    Wild,
    /// All of it, and far more asked for than there is.
    Flood,
}

pub(super) struct World {
    pub(super) random: Random,
    trace: bool,
    pub(super) weather: Weather,
    pub(super) now: u64,
    /// Microseconds that the server's clock has stepped back.
    back: u64,
    pub(super) layout: Layout,
    pub(super) limits: Limits,
    pub(super) ledger: Ledger,
    pub(super) network: Network,
    pub(super) processes: Vec<Process>,
    /// Those of `processes` that live.
    alive: Vec<usize>,
    pub(super) charges: Vec<Charge>,
    pub(super) admitted: Admitted,
    /// Taken one by one, to be undone: the decision, and its place among the charges.
    pub(super) refundable: Vec<(State, u32, usize)>,
}

pub(super) struct Process {
    pub(super) settings: Settings,
    pub(super) node: Node,
    pub(super) balance: Balance,
    pub(super) alive: bool,
    offset: u64,
    /// How fast its clock runs, in thousandths.
    pace: u64,
    /// Tokens spent from leases.
    pub(super) admitted: u64,
    pub(super) waiting: Vec<u32>,
    pub(super) refusals: Vec<u64>,
}

impl Process {
    pub(super) fn clock(&self, now: u64) -> u64 {
        self.offset + (now / 1000) * self.pace
    }

    /// When, in true time, its clock has reached this.
    pub(super) fn when(&self, clock: u64) -> u64 {
        clock.saturating_sub(self.offset).div_ceil(self.pace) * 1000
    }
}

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> World {
        let mut random = Random::new(seed);
        let quota = quota(&mut random);
        let layout = quota.layout();
        let lifetime = [200_000, 500_000, 1_000_000][random.below(3) as usize];
        let fraction = [0.1, 0.3, 0.5, 1.0][random.below(4) as usize];
        let limits =
            Limits::of(&layout.scaled, fraction, lifetime).unwrap_or(Limits { most: 1, lifetime });
        let weather = [
            Weather::Calm,
            Weather::Rough,
            Weather::Wild,
            Weather::Wild,
            Weather::Flood,
        ][random.below(5) as usize];
        let calm = weather == Weather::Calm;
        let network = Network {
            under_way: Vec::new(),
            loss: if calm { 0 } else { random.below(30) },
            doubles: random.below(30),
            in_order: calm,
            delay: 4 * MILLI,
            long_delay: if calm { 8 * MILLI } else { lifetime * 1500 },
            sent: 0,
        };
        let mut world = World {
            random,
            trace,
            weather,
            now: 0,
            back: 0,
            layout,
            limits,
            ledger: Ledger::new(),
            network,
            processes: Vec::new(),
            alive: Vec::new(),
            charges: Vec::new(),
            admitted: Admitted::default(),
            refundable: Vec::new(),
        };
        world.log(|| format!("{quota}, {limits:?}, {weather:?}"));
        let base = tick(&layout, BEGIN);
        // Fresh: full as of the beginning. The ledger's first stamp is then that of its first
        // charge.
        world.log(|| format!("the clock begins at tick {base}"));
        for _ in 0..1 + world.random.below(4) {
            let process = world.start();
            world.alive.push(process);
        }
        world
    }

    fn start(&mut self) -> usize {
        let node = 1 + (self.random.number() >> 12);
        let timeout = match self.weather {
            Weather::Wild if self.random.chance(30) => {
                1 + self.random.below(self.limits.lifetime * 2000)
            }
            _ => 30 * MILLI,
        };
        let settings = Settings {
            node,
            layout: self.layout,
            limits: self.limits,
            timeout,
        };
        self.processes.push(Process {
            settings,
            node: Node::default(),
            balance: Balance::default(),
            alive: true,
            offset: self.random.spread(1 << 40),
            pace: 941 + self.random.below(119),
            admitted: 0,
            waiting: Vec::new(),
            refusals: Vec::new(),
        });
        self.processes.len() - 1
    }

    /// When, in true time, the server's clock reaches this, if it steps back no more.
    pub(super) fn server_when(&self, micros: u64) -> u64 {
        (micros.saturating_sub(BEGIN) + self.back) * 1000
    }

    pub(super) fn server_micros(&self) -> u64 {
        BEGIN + self.now / 1000 - self.back
    }

    pub(super) fn log(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} µs  {}", self.now / 1000, line());
        }
    }

    pub(super) fn run(&mut self) -> Result<Returned, String> {
        for _ in 0..LENGTH {
            self.happen()?;
            let most = if self.random.chance(10) {
                self.limits.lifetime * 1500
            } else {
                20 * MILLI
            };
            let time = if self.weather == Weather::Flood {
                self.random.below(50 * MILLI)
            } else {
                self.random.spread(most)
            };
            let until = self.now + time;
            self.advance(until)?;
        }
        self.heal()
    }

    fn happen(&mut self) -> Result<(), String> {
        let place = self.random.below(self.alive.len() as u64) as usize;
        let index = self.alive[place];
        let wild = self.weather == Weather::Wild;
        match self.random.below(100) {
            0..4 if wild => self.crash(place),
            4..6 if wild => {
                self.back += self
                    .random
                    .spread(self.limits.lifetime * 2)
                    .min(self.server_micros() / 2);
                self.log(|| format!("the server's clock steps back, by {} µs in all", self.back));
            }
            6..8 if wild => self.reset(),
            8..11 if self.weather != Weather::Rough => {
                self.close(index);
                self.crash(place);
            }
            11..15 => self.refund(),
            _ => {
                for _ in 0..self.random.spread(16) {
                    let cost = if self.random.chance(85) {
                        1
                    } else {
                        self.random.spread(u64::from(self.limits.most) + 2)
                    };
                    self.request(index, (cost as u32).min(self.layout.capacity_tokens()))?;
                }
            }
        }
        self.check()
    }

    /// Another takes its place, under another number.
    fn crash(&mut self, place: usize) {
        let index = self.alive[place];
        self.log(|| format!("process {index} ends"));
        self.processes[index].alive = false;
        self.alive[place] = self.start();
    }

    fn close(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if let Some(ask) = process
            .node
            .close(&process.settings, &process.balance, clock)
        {
            self.send_ask(index, ask);
        }
    }

    /// Everybody's tokens are back; those who hold a lease go on spending it.
    fn reset(&mut self) {
        let now = self.server_micros();
        self.ledger.reset(&self.layout, now);
        self.charges
            .iter_mut()
            .for_each(|charge| charge.void = true);
        self.admitted.reset();
        self.refundable.clear();
        self.log(|| format!("reset: {:?}", self.ledger));
    }

    fn refund(&mut self) {
        if let Some((sold, cost, charge)) = self.refundable.pop() {
            self.ledger
                .refund(&self.layout, sold, self.layout.units(cost));
            self.charges[charge].tokens = 0;
            self.log(|| format!("refund of {cost}: {:?}", self.ledger));
        }
    }

    pub(super) fn request(&mut self, index: usize, cost: u32) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        let Step { answer, ask } =
            process
                .node
                .take(&process.settings, &process.balance, clock, cost);
        self.log(|| format!("process {index} takes {cost}: {answer:?}"));
        if let Some(ask) = ask {
            self.send_ask(index, ask);
        }
        match answer {
            Answer::Allowed { .. } => {
                self.processes[index].admitted += u64::from(cost);
                self.admitted
                    .admit(&self.layout, self.limits.most, self.now, cost)?;
            }
            Answer::Wait => self.processes[index].waiting.push(cost),
            Answer::Exact { seq } => self.send(index, clock, Packet::Take { seq, cost }),
            Answer::Refused { retry, .. } => {
                ensure(retry > 0, || "refused, and to retry at once".to_owned())?
            }
        }
        Ok(())
    }

    fn send_ask(&mut self, index: usize, ask: Ask) {
        self.log(|| format!("process {index} sends {ask:?}"));
        let clock = self.processes[index].clock(self.now);
        self.send(index, clock, Packet::Ask(ask));
    }

    pub(super) fn send(&mut self, process: usize, asked: u64, packet: Packet) {
        let message = Sent {
            at: 0,
            process,
            asked,
            packet,
        };
        self.network.send(&mut self.random, self.now, message);
    }

    pub(super) fn advance(&mut self, until: u64) -> Result<(), String> {
        while let Some(sent) = self.network.arrives(until) {
            self.now = self.now.max(sent.at);
            self.arrive(sent)?;
            self.check()?;
        }
        self.now = until;
        for place in 0..self.alive.len() {
            // Some are late.
            if self.random.chance(80) {
                self.tick(self.alive[place]);
            }
        }
        self.check()
    }

    fn tick(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if let Some(ask) = process
            .node
            .tick(&process.settings, &process.balance, clock)
        {
            self.send_ask(index, ask);
        }
    }
}

/// Small ones, slow ones, fast ones, and some that refill all at once.
fn quota(random: &mut Random) -> Quota {
    let capacity = [5, 10, 20, 40, 100, 1000][random.below(6) as usize];
    let quota = if random.chance(15) {
        Quota::interval(
            capacity,
            std::time::Duration::from_millis(100 + random.below(3000)),
        )
    } else {
        Quota::per_second(1 + random.spread(u64::from(capacity) * 20) as u32)
            .with_capacity(capacity)
    };
    if random.chance(50) {
        quota.with_debt(0)
    } else {
        quota
    }
}
