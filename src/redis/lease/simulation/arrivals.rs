//! What happens when a message arrives: at the server, or at the process that waits for its answer.

use super::{
    check::Charge,
    network::{Packet, Sent},
    world::{Weather, World},
};
use crate::{
    redis::lease::{Ask, Reply, tick},
    state::State,
};

impl World {
    pub(super) fn arrive(&mut self, sent: Sent) -> Result<(), String> {
        let (index, asked) = (sent.process, sent.asked);
        match sent.packet {
            Packet::Ask(ask) => self.at_server(index, asked, ask),
            Packet::Take { seq, cost } => return self.take_at_server(index, asked, seq, cost),
            Packet::Reply { ask, reply } => return self.reply(index, asked, &ask, &reply),
            Packet::Taken { seq, refused } => return self.taken(index, asked, seq, refused),
        }
        Ok(())
    }

    fn at_server(&mut self, index: usize, asked: u64, ask: Ask) {
        let now = self.server_micros();
        let before = self
            .ledger
            .leases
            .iter()
            .find(|lease| lease.node == ask.node)
            .map(|lease| lease.seq);
        let reply = self.ledger.ask(&self.layout, &self.limits, now, &ask);
        self.log(|| format!("server: {ask:?} -> {reply:?}; {:?}", self.ledger));
        let Some(reply) = reply else { return };
        if reply.granted > 0 && before != Some(ask.seq) {
            self.charged(reply.granted, Some(index));
        }
        self.send(index, asked, Packet::Reply { ask, reply });
    }

    fn charged(&mut self, tokens: u32, process: Option<usize>) {
        self.charges.push(Charge {
            tick: self.ledger.state.stamp,
            tokens,
            process,
            void: false,
        });
    }

    fn take_at_server(
        &mut self,
        index: usize,
        asked: u64,
        seq: u64,
        cost: u32,
    ) -> Result<(), String> {
        let now = self.server_micros();
        let taken = self.ledger.take(&self.layout, now, cost);
        self.log(|| format!("server: {cost} one by one -> {taken:?}; {:?}", self.ledger));
        if let Ok(sold) = taken {
            if self.weather == Weather::Wild && self.random.chance(30) {
                self.refundable.push((sold, cost, self.charges.len()));
            } else {
                self.admitted
                    .admit(&self.layout, self.limits.most, self.now, cost)?;
            }
            self.charged(cost, None);
        }
        let refused = taken.err().map(|state| (state, now));
        self.send(index, asked, Packet::Taken { seq, refused });
        Ok(())
    }

    fn reply(&mut self, index: usize, asked: u64, ask: &Ask, reply: &Reply) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if !process.alive
            || !process
                .node
                .reply(&process.settings, &process.balance, clock, reply)
        {
            return Ok(());
        }
        let settled = self
            .layout
            .refill_to(reply.state, tick(&self.layout, reply.now));
        let missing = ask.need.saturating_sub(reply.kept).max(1);
        if reply.granted == 0 && ask.want > 0 && self.layout.remaining(settled.spent) < missing {
            process.refused(asked)?;
        }
        self.wake(index)
    }

    fn taken(
        &mut self,
        index: usize,
        asked: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) -> Result<(), String> {
        let process = &mut self.processes[index];
        let clock = process.clock(self.now);
        if !process.alive || !process.node.decided(&process.settings, clock, seq, refused) {
            return Ok(());
        }
        if refused.is_some() {
            process.refused(asked)?;
        }
        self.wake(index)
    }

    /// Those who waited for the answer ask again.
    fn wake(&mut self, index: usize) -> Result<(), String> {
        for cost in std::mem::take(&mut self.processes[index].waiting) {
            self.request(index, cost)?;
        }
        Ok(())
    }
}
