//! How a schedule ends: in silence, and with a full bucket.

use super::{BEGIN, MILLI, World};
use crate::redis::lease::simulation::check::{Returned, ensure};

impl World {
    /// The network is well, and nobody asks: what was out comes back, and then there is silence.
    pub(super) fn heal(&mut self) -> Result<Returned, String> {
        (self.network.loss, self.network.doubles) = (0, 0);
        (self.network.delay, self.network.long_delay) = (4 * MILLI, 8 * MILLI);
        self.log(|| "the network is well, and nobody asks".to_owned());
        self.processes
            .iter_mut()
            .for_each(|process| process.waiting.clear());
        let before = self.network.sent;
        while let Some(at) = self.next_event() {
            self.advance(at.max(self.now))?;
            // Every process: what is under way, at most three tries, and each is answered.
            let (sent, most) = (
                self.network.sent - before,
                16 * self.alive.len() as u64 + 64,
            );
            ensure(sent <= most, || {
                format!("{sent} messages though nobody asks")
            })?;
        }
        let returned = self.check_quiet(self.weather)?;
        self.fill_up()?;
        Ok(returned)
    }

    fn next_event(&self) -> Option<u64> {
        let arrivals = self.network.under_way.iter().map(|sent| sent.at);
        let ticks = self.alive.iter().filter_map(|&index| {
            let process = &self.processes[index];
            process
                .node
                .next(&process.settings, &process.balance)
                .map(|clock| process.when(clock))
        });
        arrivals.chain(ticks).min()
    }

    /// After a lifetime and the time a bucket takes to refill, it is full and nothing is out.
    fn fill_up(&mut self) -> Result<(), String> {
        let full = self.layout.full_at(self.ledger.state);
        let full = self
            .layout
            .nanos_at(full)
            .ok_or("full behind the end of time")?;
        self.now = (full + (self.back + self.limits.lifetime) * 1000)
            .saturating_sub(BEGIN * 1000)
            .max(self.now);
        self.now += self.limits.lifetime * 1000;
        let now = self.server_micros();
        let whole = self
            .ledger
            .clone()
            .take(&self.layout, now, self.layout.capacity_tokens());
        ensure(whole.is_ok() && self.ledger.out(now) == 0, || {
            format!("not full again: {:?}", self.ledger)
        })
    }
}
