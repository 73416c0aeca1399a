//! Simulated world: the processes, the server, the network, and the events that occur.

use super::{
    invariants::{Admitted, Charge, Unspent, ensure, spent_by_history},
    network::{Envelope, Network, Packet},
    process::Process,
};
use crate::{
    quota::Quota,
    redis::lease::{
        protocol::{
            Balance, Holder, LeaseReply, LeaseRequest, Limits, Settings, Step, TakeOutcome,
            tick_at_micros,
        },
        reference::{leased_bucket::LeasedBucket, random::Random},
    },
    state::{Layout, State},
};

const MILLI: u64 = 1_000_000;
/// Number of events in a schedule.
const EVENTS: u64 = 48;
/// Server time at the beginning, in microseconds: far enough from zero to step back.
const BEGIN: u64 = 1_000_000_000;

/// Faults that a schedule may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    /// No message is lost, late or reordered, no process crashes, and no clock steps back.
    None,
    /// Messages are lost, late and reordered.
    Network,
    /// All faults.
    All,
    /// All faults, and a demand far above the quota.
    Flood,
}

pub(super) struct World {
    random: Random,
    trace: bool,
    faults: Faults,
    /// True time in nanoseconds.
    now: u64,
    /// Microseconds that the server's clock has stepped back, in total.
    stepped_back: u64,
    layout: Layout,
    limits: Limits,
    server: LeasedBucket,
    network: Network,
    processes: Vec<Process>,
    /// Indices of the processes that are alive.
    alive: Vec<usize>,
    charges: Vec<Charge>,
    admitted: Admitted,
    /// Takes to be refunded: the decision, its cost, and the index of its charge.
    refundable: Vec<(State, u32, usize)>,
}

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> World {
        let mut random = Random::new(seed);
        let quota = random_quota(&mut random);
        let layout = quota.layout();
        let lifetime_micros = [200_000, 500_000, 1_000_000][random.below(3) as usize];
        let fraction = [0.1, 0.3, 0.5, 1.0][random.below(4) as usize];
        let limits =
            Limits::for_fraction(&layout.scaled, fraction, lifetime_micros).unwrap_or(Limits {
                max_leased: 1,
                lifetime_micros,
            });
        let faults = [
            Faults::None,
            Faults::Network,
            Faults::All,
            Faults::All,
            Faults::Flood,
        ][random.below(5) as usize];
        let reliable = faults == Faults::None;
        let network = Network {
            in_flight: Vec::new(),
            loss: if reliable { 0 } else { random.below(30) },
            duplication: random.below(30),
            in_order: reliable,
            delay: 4 * MILLI,
            long_delay: if reliable {
                8 * MILLI
            } else {
                lifetime_micros * 1500
            },
            sent: 0,
        };
        let mut world = World {
            random,
            trace,
            faults,
            now: 0,
            stepped_back: 0,
            layout,
            limits,
            server: LeasedBucket::new(),
            network,
            processes: Vec::new(),
            alive: Vec::new(),
            charges: Vec::new(),
            admitted: Admitted::default(),
            refundable: Vec::new(),
        };
        world.log(|| format!("{quota}, {limits:?}, {faults:?}"));
        let base = tick_at_micros(&layout, BEGIN);
        // The bucket is full at the beginning. Its first stamp is then that of its first charge.
        world.log(|| format!("the clock begins at tick {base}"));
        for _ in 0..1 + world.random.below(4) {
            let process = world.start_process();
            world.alive.push(process);
        }
        world
    }

    pub(super) fn run(&mut self) -> Result<Unspent, String> {
        for _ in 0..EVENTS {
            self.random_event()?;
            let max_time = if self.random.chance(10) {
                self.limits.lifetime_micros * 1500
            } else {
                20 * MILLI
            };
            let time = if self.faults == Faults::Flood {
                self.random.below(50 * MILLI)
            } else {
                self.random.log_uniform(max_time)
            };
            let until = self.now + time;
            self.advance(until)?;
        }
        self.finish()
    }

    // Events.

    fn random_event(&mut self) -> Result<(), String> {
        let position = self.random.below(self.alive.len() as u64) as usize;
        let index = self.alive[position];
        let all_faults = self.faults == Faults::All;
        match self.random.below(100) {
            0..4 if all_faults => self.replace_process(position),
            4..6 if all_faults => {
                self.stepped_back += self
                    .random
                    .log_uniform(self.limits.lifetime_micros * 2)
                    .min(self.server_micros() / 2);
                let total = self.stepped_back;
                self.log(|| format!("the server's clock steps back, by {total} µs in total"));
            }
            6..8 if all_faults => self.reset(),
            8..11 if self.faults != Faults::Network => {
                self.close(index);
                self.replace_process(position);
            }
            11..15 => self.refund(),
            _ => {
                for _ in 0..self.random.log_uniform(16) {
                    let cost = if self.random.chance(85) {
                        1
                    } else {
                        self.random
                            .log_uniform(u64::from(self.limits.max_leased) + 2)
                    };
                    self.take(index, (cost as u32).min(self.layout.capacity_tokens()))?;
                }
            }
        }
        self.check()
    }

    fn start_process(&mut self) -> usize {
        let holder_id = 1 + (self.random.next_u64() >> 12);
        let timeout_nanos = match self.faults {
            Faults::All if self.random.chance(30) => {
                1 + self.random.below(self.limits.lifetime_micros * 2000)
            }
            _ => 30 * MILLI,
        };
        let settings = Settings {
            layout: self.layout,
            limits: self.limits,
            timeout_nanos,
        };
        self.processes.push(Process {
            settings,
            holder: Holder::new(holder_id),
            balance: Balance::default(),
            alive: true,
            clock_offset: self.random.log_uniform(1 << 40),
            clock_rate: 941 + self.random.below(119),
            admitted: 0,
            waiting: Vec::new(),
            refusals: Vec::new(),
        });
        self.processes.len() - 1
    }

    /// Ends a process and starts another with a new holder id.
    fn replace_process(&mut self, position: usize) {
        let index = self.alive[position];
        self.log(|| format!("process {index} ends"));
        self.processes[index].alive = false;
        self.alive[position] = self.start_process();
    }

    fn close(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if let Some(request) = process.holder.close(&process.balance, clock) {
            self.send_request(index, request);
        }
    }

    /// Fills the bucket. Holders go on spending their leases.
    fn reset(&mut self) {
        let now = self.server_micros();
        self.server.reset(&self.layout, now);
        self.charges
            .iter_mut()
            .for_each(|charge| charge.void = true);
        self.admitted.reset();
        self.refundable.clear();
        self.log(|| format!("reset: {:?}", self.server));
    }

    fn refund(&mut self) {
        if let Some((sold, cost, charge)) = self.refundable.pop() {
            self.server
                .refund(&self.layout, sold, self.layout.units(cost));
            self.charges[charge].tokens = 0;
            self.log(|| format!("refund of {cost}: {:?}", self.server));
        }
    }

    fn take(&mut self, index: usize, cost: u32) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        let Step { outcome, request } =
            process
                .holder
                .take(&process.settings, &process.balance, clock, cost);
        self.log(|| format!("process {index} takes {cost}: {outcome:?}"));
        if let Some(request) = request {
            self.send_request(index, request);
        }
        match outcome {
            TakeOutcome::Allowed { .. } => {
                self.processes[index].admitted += u64::from(cost);
                self.admitted
                    .admit(&self.layout, self.limits.max_leased, self.now, cost)?;
            }
            TakeOutcome::Wait => self.processes[index].waiting.push(cost),
            TakeOutcome::Exact { seq } => self.send(index, clock, Packet::Take { seq, cost }),
            TakeOutcome::Refused { retry_after, .. } => ensure(retry_after > 0, || {
                "retry_after: expected more than 0, got 0".to_owned()
            })?,
        }
        Ok(())
    }

    fn send_request(&mut self, index: usize, request: LeaseRequest) {
        self.log(|| format!("process {index} sends {request:?}"));
        let clock = self.processes[index].clock(self.now);
        self.send(index, clock, Packet::Request(request));
    }

    fn send(&mut self, process: usize, requested_at: u64, packet: Packet) {
        let message = Envelope {
            arrives_at: 0,
            process,
            requested_at,
            packet,
        };
        self.network.send(&mut self.random, self.now, message);
    }

    // Time and arrivals.

    /// Returns the true time at which the server's clock reaches `micros`, if it does not step back
    /// again.
    fn true_time_of_server(&self, micros: u64) -> u64 {
        (micros.saturating_sub(BEGIN) + self.stepped_back) * 1000
    }

    fn server_micros(&self) -> u64 {
        BEGIN + self.now / 1000 - self.stepped_back
    }

    fn advance(&mut self, until: u64) -> Result<(), String> {
        while let Some(envelope) = self.network.receive(until) {
            self.now = self.now.max(envelope.arrives_at);
            self.deliver(envelope)?;
            self.check()?;
        }
        self.now = until;
        for position in 0..self.alive.len() {
            // Some timers run late.
            if self.random.chance(80) {
                self.run_timer(self.alive[position]);
            }
        }
        self.check()
    }

    fn run_timer(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if let Some(request) = process
            .holder
            .on_timer(&process.settings, &process.balance, clock)
        {
            self.send_request(index, request);
        }
    }

    fn deliver(&mut self, envelope: Envelope) -> Result<(), String> {
        let (index, requested_at) = (envelope.process, envelope.requested_at);
        match envelope.packet {
            Packet::Request(request) => {
                self.request_at_server(index, requested_at, request);
                Ok(())
            }
            Packet::Take { seq, cost } => self.take_at_server(index, requested_at, seq, cost),
            Packet::Reply { request, reply } => {
                self.reply_at_process(index, requested_at, &request, &reply)
            }
            Packet::TakeReply { seq, refused } => {
                self.take_reply_at_process(index, requested_at, seq, refused)
            }
        }
    }

    fn request_at_server(&mut self, index: usize, requested_at: u64, request: LeaseRequest) {
        let now = self.server_micros();
        let last_seq = self
            .server
            .leases
            .iter()
            .find(|lease| lease.holder == request.holder)
            .map(|lease| lease.seq);
        let reply = self
            .server
            .handle(&self.layout, &self.limits, now, &request);
        self.log(|| format!("server: {request:?} -> {reply:?}; {:?}", self.server));
        let Some(reply) = reply else { return };
        if reply.granted > 0 && last_seq != Some(request.seq) {
            self.record_charge(reply.granted, Some(index));
        }
        self.send(index, requested_at, Packet::Reply { request, reply });
    }

    fn take_at_server(
        &mut self,
        index: usize,
        requested_at: u64,
        seq: u64,
        cost: u32,
    ) -> Result<(), String> {
        let now = self.server_micros();
        let taken = self.server.take(&self.layout, now, cost);
        self.log(|| format!("server: take {cost} -> {taken:?}; {:?}", self.server));
        if let Ok(sold) = taken {
            if self.faults == Faults::All && self.random.chance(30) {
                self.refundable.push((sold, cost, self.charges.len()));
            } else {
                self.admitted
                    .admit(&self.layout, self.limits.max_leased, self.now, cost)?;
            }
            self.record_charge(cost, None);
        }
        let refused = taken.err().map(|state| (state, now));
        self.send(index, requested_at, Packet::TakeReply { seq, refused });
        Ok(())
    }

    fn record_charge(&mut self, tokens: u32, process: Option<usize>) {
        self.charges.push(Charge {
            tick: self.server.state.stamp,
            tokens,
            process,
            void: false,
        });
    }

    fn reply_at_process(
        &mut self,
        index: usize,
        requested_at: u64,
        request: &LeaseRequest,
        reply: &LeaseReply,
    ) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if !process.alive
            || !process
                .holder
                .on_reply(&process.settings, &process.balance, clock, reply)
        {
            return Ok(());
        }
        let settled = self
            .layout
            .refill_to(reply.state, tick_at_micros(&self.layout, reply.now));
        let missing = request.need.saturating_sub(reply.kept).max(1);
        if reply.granted == 0 && request.want > 0 && self.layout.remaining(settled.spent) < missing
        {
            process.record_refusal(requested_at)?;
        }
        self.wake_callers(index)
    }

    fn take_reply_at_process(
        &mut self,
        index: usize,
        requested_at: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if !process.alive
            || !process
                .holder
                .on_exact(&process.settings, clock, seq, refused)
        {
            return Ok(());
        }
        if refused.is_some() {
            process.record_refusal(requested_at)?;
        }
        self.wake_callers(index)
    }

    /// Callers that waited for the reply take again.
    fn wake_callers(&mut self, index: usize) -> Result<(), String> {
        for cost in std::mem::take(&mut self.processes[index].waiting) {
            self.take(index, cost)?;
        }
        Ok(())
    }

    // End of a schedule.

    /// Makes the network reliable and ends all demand: the leased tokens are returned, and then no
    /// message is sent.
    fn finish(&mut self) -> Result<Unspent, String> {
        (self.network.loss, self.network.duplication) = (0, 0);
        (self.network.delay, self.network.long_delay) = (4 * MILLI, 8 * MILLI);
        self.log(|| "the network is reliable, and demand ends".to_owned());
        self.processes
            .iter_mut()
            .for_each(|process| process.waiting.clear());
        let before = self.network.sent;
        while let Some(at) = self.next_event() {
            self.advance(at.max(self.now))?;
            // For each process: the messages in flight, at most three attempts, and a reply each.
            let sent = self.network.sent - before;
            let bound = 16 * self.alive.len() as u64 + 64;
            ensure(sent <= bound, || {
                format!("{sent} messages sent without demand, at most {bound}")
            })?;
        }
        let unspent = self.check_idle()?;
        self.check_full_again()?;
        Ok(unspent)
    }

    fn next_event(&self) -> Option<u64> {
        let arrivals = self
            .network
            .in_flight
            .iter()
            .map(|envelope| envelope.arrives_at);
        let timers = self.alive.iter().filter_map(|&index| {
            let process = &self.processes[index];
            process
                .holder
                .next_deadline(&process.settings, &process.balance)
                .map(|clock| process.true_time(clock))
        });
        arrivals.chain(timers).min()
    }

    // Checks.

    fn check(&self) -> Result<(), String> {
        let max_leased = self.limits.max_leased;
        let leased = self.server.leased(self.server_micros());
        ensure(leased <= max_leased, || {
            format!("{leased} tokens on lease by the server, at most {max_leased}")
        })?;
        let spendable: u32 = self
            .processes
            .iter()
            .map(|process| process.spendable(self.now))
            .sum();
        ensure(spendable <= max_leased, || {
            format!("{spendable} leased tokens spendable, at most {max_leased}")
        })?;
        for process in self
            .processes
            .iter()
            .filter(|process| process.spendable(self.now) > 0)
        {
            self.check_lease(process)?;
        }
        if self.layout.is_greedy() {
            let expected = self.spent_by_history(|index| self.usable(index));
            let recorded = self.server.state.spent;
            ensure(expected <= recorded, || {
                format!("{expected} units spent, but the server has recorded {recorded}")
            })?;
        }
        Ok(())
    }

    /// Checks that the spendable tokens of a process are covered by a lease on the server that ends
    /// later.
    fn check_lease(&self, process: &Process) -> Result<(), String> {
        let held = process.balance.snapshot();
        let lease = self
            .server
            .leases
            .iter()
            .find(|lease| lease.holder == process.holder.id());
        let covered = lease.is_some_and(|lease| {
            held.tokens <= lease.tokens
                && process.true_time(held.expiry) <= self.true_time_of_server(lease.expiry)
        });
        ensure(covered, || {
            format!("{held:?} is spendable, but the lease is {lease:?}")
        })
    }

    /// Checks that no tokens are held once no message is sent. If no process crashed, returns the
    /// unspent tokens, and those that are still debited because the server cannot distinguish all
    /// charges.
    fn check_idle(&self) -> Result<Unspent, String> {
        let alive = self.processes.iter().filter(|process| process.alive);
        let held: u32 = alive.map(|process| process.balance.snapshot().tokens).sum();
        ensure(held == 0, || format!("{held} tokens are still held"))?;
        if !matches!(self.faults, Faults::None | Faults::Network) || !self.layout.is_greedy() {
            return Ok(Unspent::default());
        }
        let expected = self.spent_by_history(|index| self.processes[index].admitted);
        let lost = (self.server.state.spent - expected).div_ceil(self.layout.units(1));
        let leases = self
            .charges
            .iter()
            .filter(|charge| charge.process.is_some());
        let leased: u64 = leases.map(|charge| u64::from(charge.tokens)).sum();
        let admitted: u64 = self.processes.iter().map(|process| process.admitted).sum();
        let total = leased - admitted;
        self.log(|| format!("{lost} of {total} unspent tokens were not credited"));
        Ok(Unspent {
            reliable: self.faults == Faults::None,
            total,
            lost,
        })
    }

    /// Checks that after a lifetime and the time of a refill, the bucket is full and no tokens are
    /// on lease.
    fn check_full_again(&mut self) -> Result<(), String> {
        let full = self.layout.full_at(self.server.state);
        let full = self
            .layout
            .nanos_at(full)
            .ok_or("the bucket is not full before the end of time")?;
        self.now = (full + (self.stepped_back + self.limits.lifetime_micros) * 1000)
            .saturating_sub(BEGIN * 1000)
            .max(self.now);
        self.now += self.limits.lifetime_micros * 1000;
        let now = self.server_micros();
        let all = self
            .server
            .clone()
            .take(&self.layout, now, self.layout.capacity_tokens());
        ensure(all.is_ok() && self.server.leased(now) == 0, || {
            format!("the bucket is not full: {:?}", self.server)
        })
    }

    fn spent_by_history(&self, usable: impl Fn(usize) -> u64) -> u64 {
        spent_by_history(
            &self.layout,
            &self.charges,
            self.server.state.stamp,
            (0..self.processes.len()).map(usable).collect(),
        )
    }

    /// Returns the tokens that a process has spent or can still spend.
    fn usable(&self, index: usize) -> u64 {
        let process = &self.processes[index];
        let granted = self
            .network
            .in_flight
            .iter()
            .filter(|envelope| envelope.process == index)
            .filter_map(|envelope| match &envelope.packet {
                Packet::Reply { reply, .. } if process.awaits(reply.seq) => {
                    Some(u64::from(reply.granted))
                }
                _ => None,
            });
        process.admitted + process.maybe_spendable(self.now) + granted.max().unwrap_or(0)
    }

    fn log(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} µs  {}", self.now / 1000, line());
        }
    }
}

/// Returns a quota with a small or large capacity and a slow or fast refill, some of them interval
/// quotas.
fn random_quota(random: &mut Random) -> Quota {
    let capacity = [5, 10, 20, 40, 100, 1000][random.below(6) as usize];
    if random.chance(15) {
        Quota::interval(
            capacity,
            std::time::Duration::from_millis(100 + random.below(3000)),
        )
    } else {
        Quota::per_second(1 + random.log_uniform(u64::from(capacity) * 20) as u32)
            .with_capacity(capacity)
    }
}
